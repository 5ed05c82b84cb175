// SPDX-License-Identifier: MIT
// Private to libdiffusion_forcing_video.
#pragma once

#include "media/video_backend.hpp"

namespace df::media {

std::unique_ptr<FrameSource> open_source(const std::filesystem::path& path, std::shared_ptr<const VideoIndex> index, int threads);
// With the size of the pictures. Throws df::Error where no frame can be decoded.
VideoIndex make_index(const std::filesystem::path& path);

}  // namespace df::media
