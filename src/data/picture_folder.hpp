// SPDX-License-Identifier: MIT
// A folder of PNG or JPEG pictures as a video: frame_2.png comes before frame_10.png.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "media/video_backend.hpp"

namespace df::data {

bool is_picture(const std::filesystem::path& path);  // by its ending

// The pictures of a folder in the order of the numbers in their names.
std::vector<std::filesystem::path> pictures_in(const std::filesystem::path& folder);

// The first picture says how large the frames are; others are cut and scaled to it. Throws df::Error where there is none.
std::unique_ptr<media::FrameSource> open_pictures(const std::filesystem::path& folder);

}  // namespace df::data
