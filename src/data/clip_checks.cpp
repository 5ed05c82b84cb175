// SPDX-License-Identifier: MIT
#include "data/clip_checks.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>

#include "core/require.hpp"
#include "diffusion_forcing/data/video_tokens.hpp"

namespace df::data {

void check_clip(int64_t frames, int64_t frame_stack, double mean, double std) {
  const Require require("data");
  require.at_least("frame_stack", frame_stack, 1);
  require.at_least("frames", frames, 1);
  require(frames % frame_stack == 0, "frames", fmt::format("a multiple of data.frame_stack = {}", frame_stack), frames);
  require(std::isfinite(mean), "mean", "a number", mean);
  require(std > 0 && std::isfinite(std), "std", "a number above 0", std);
}

Batch clip_of(const Tensor& frames, int64_t frame_stack, double mean, double std) {
  Batch batch;
  batch.x = frames_to_tokens(frames.permute({0, 3, 1, 2}), frame_stack, mean, std);
  batch.mask = at::ones({frames.size(0)});
  return batch;
}

}  // namespace df::data
