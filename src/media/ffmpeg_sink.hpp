// SPDX-License-Identifier: MIT
// Private to libdiffusion_forcing_video.
#pragma once

#include "media/video_backend.hpp"

namespace df::media {

std::unique_ptr<FrameSink> open_sink(const std::filesystem::path& path, const std::string& name, double fps, int64_t height, int64_t width);

}  // namespace df::media
