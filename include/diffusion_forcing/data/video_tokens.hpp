// SPDX-License-Identifier: MIT
// Frames to tokens and back: the border between videos and the core.
#pragma once

#include <cstdint>

#include "diffusion_forcing/core/tensor.hpp"
#include "diffusion_forcing/data/dataset.hpp"

namespace df {

// frames [T * F, C, H, W] in [0, 1] (uint8 in 0..255 also) -> [T, F * C, H, W] normalised float32, frame-major.
Tensor frames_to_tokens(const Tensor& frames, int64_t frame_stack, double mean, double std);
// tokens [..., F * C, H, W] -> uint8 [... * F, C, H, W]: denormalised, clamped to [0, 1], rounded. Leading [T] becomes [T * F], [B, T]
// becomes [B, T * F].
Tensor tokens_to_frames(const Tensor& tokens, int64_t frame_stack, double mean, double std);

// actions one-hot [T * F, A] where row f is the action taken AT frame f -> [T, F * A]: each token sees the actions that led to its frames
// (the first frame of the clip sees zeros).
Tensor actions_to_condition(const Tensor& actions, int64_t frame_stack);

}  // namespace df
