// SPDX-License-Identifier: MIT
#include "diffusion_forcing/planning/frame_codec.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <vector>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/shape.hpp"

namespace df {

namespace {

Tensor table(const std::vector<double>& values) { return at::tensor(values, at::kDouble).to(at::kFloat); }

}  // namespace

FrameCodec::FrameCodec(const DataSpec& spec, const FrameSizes& sizes)
    : sizes_(sizes), frame_stack_(spec.token.frame_stack), frame_size_(static_cast<int64_t>(spec.frame_mean.size())) {
  const int64_t plain = sizes.observation + sizes.action;
  if (frame_size_ != plain && frame_size_ != plain + 1)
    throw Error(fmt::format(
        "planner: expected frames of {} numbers (observation, action), or {} with a reward, each with mean and deviation; got {}", plain,
        plain + 1, frame_size_));
  if (spec.frame_std.size() != spec.frame_mean.size())
    throw Error(fmt::format("planner: expected a mean and a deviation for each of {} numbers, got {} deviations", frame_size_,
                            spec.frame_std.size()));
  if (spec.token.token_shape != Shape{frame_stack_ * frame_size_})
    throw Error(fmt::format("planner: expected tokens of {} frames of {} numbers, got {}", frame_stack_, frame_size_,
                            to_string(spec.token.token_shape)));
  mean_ = table(spec.frame_mean);
  std_ = table(spec.frame_std);
}

void FrameCodec::to(at::Device device) {
  mean_ = mean_.to(device);
  std_ = std_.to(device);
}

Tensor FrameCodec::frames(const Tensor& x) const {
  check_shape(x, "planned tokens", {-1, -1, frame_stack_ * frame_size_});
  return x.reshape({x.size(0), x.size(1) * frame_stack_, frame_size_}) * std_ + mean_;
}

Tensor FrameCodec::tokens(const Tensor& frames) const {
  check_shape(frames, "planned frames", {-1, -1, frame_size_});
  if (frames.size(1) % frame_stack_ != 0)
    throw Error(fmt::format("planned frames: expected a multiple of the {} frames of a token, got {}", frame_stack_, frames.size(1)));
  return ((frames - mean_) / std_).reshape({frames.size(0), frames.size(1) / frame_stack_, frame_stack_ * frame_size_});
}

Tensor FrameCodec::observation(const Tensor& observation) const {
  check_shape(observation, "observation", {-1, sizes_.observation});
  return (observation - mean_.slice(0, 0, sizes_.observation)) / std_.slice(0, 0, sizes_.observation);
}

}  // namespace df
