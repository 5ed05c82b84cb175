// SPDX-License-Identifier: MIT
// Private to libdiffusion_forcing_video.
#pragma once

#include "media/ffmpeg_packets.hpp"
#include "media/video_backend.hpp"

namespace df::media {

// Throws df::Error where no frame is shown. height and width are left to the reader of the first frame.
VideoIndex index_packets(const std::filesystem::path& path);

}  // namespace df::media
