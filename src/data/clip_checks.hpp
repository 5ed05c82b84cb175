// SPDX-License-Identifier: MIT
// Checks and tokens that the data sets of stored videos share.
#pragma once

#include <cstdint>

#include "diffusion_forcing/data/dataset.hpp"

namespace df::data {

// Throws df::Error naming the key, e.g. "data.frames: expected at least 1, got 0".
void check_clip(int64_t frames, int64_t frame_stack, double mean, double std);

// frames: uint8 [T * F, H, W, 3] -> tokens and the mask of a clip without padding.
Batch clip_of(const Tensor& frames, int64_t frame_stack, double mean, double std);

}  // namespace df::data
