// SPDX-License-Identifier: MIT
// Animated GIF89a: one palette for the whole file, LZW, repeated forever.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace df::media {

// `rgb`: [count, height, width, 3]. Up to 256 distinct colours are kept exactly; more are reduced by median cut.
std::string encode_gif(const std::vector<const uint8_t*>& rgb, int64_t height, int64_t width, double fps);

}  // namespace df::media
