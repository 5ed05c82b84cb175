// SPDX-License-Identifier: MIT
#include "data/clip_checks.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/data/video_tokens.hpp"

namespace df::data {

void check_at_least(int64_t value, int64_t least, std::string_view key) {
  if (value < least) throw Error(fmt::format("data.{}: expected at least {}, got {}", key, least, value));
}

void check_clip(int64_t frames, int64_t frame_stack, double mean, double std) {
  check_at_least(frame_stack, 1, "frame_stack");
  check_at_least(frames, 1, "frames");
  if (frames % frame_stack != 0)
    throw Error(fmt::format("data.frames: expected a multiple of data.frame_stack = {}, got {}", frame_stack, frames));
  if (!std::isfinite(mean)) throw Error(fmt::format("data.mean: expected a number, got {}", mean));
  if (!(std > 0) || !std::isfinite(std)) throw Error(fmt::format("data.std: expected a number above 0, got {}", std));
}

Batch clip_of(const Tensor& frames, int64_t frame_stack, double mean, double std) {
  Batch batch;
  batch.x = frames_to_tokens(frames.permute({0, 3, 1, 2}), frame_stack, mean, std);
  batch.mask = at::ones({frames.size(0)});
  return batch;
}

}  // namespace df::data
