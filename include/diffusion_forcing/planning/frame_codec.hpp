// SPDX-License-Identifier: MIT
// Tokens of a planner's model as frames in raw units, and back.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>

#include "diffusion_forcing/core/tensor.hpp"
#include "diffusion_forcing/data/dataset.hpp"

namespace df {

// How many numbers of a frame are what.
struct FrameSizes {
  int64_t observation = 0;  // O
  int64_t action = 0;       // A
};

// A token is F frames, a frame is (observation after the action [O], action [A]) and, where the data have it, the reward of that
// observation [1]. All functions are differentiable; their arguments are on the codec's device, at first the CPU.
class FrameCodec {
 public:
  // Throws df::Error where the tokens are no such frames, or come without a normaliser.
  FrameCodec(const DataSpec& spec, const FrameSizes& sizes);
  void to(at::Device device);
  int64_t frame_stack() const { return frame_stack_; }
  int64_t frame_size() const { return frame_size_; }
  const FrameSizes& sizes() const { return sizes_; }
  bool has_reward() const { return frame_size_ > sizes_.observation + sizes_.action; }
  int64_t tokens_for(int64_t frames) const { return (frames + frame_stack_ - 1) / frame_stack_; }
  Tensor frames(const Tensor& x) const;                 // normalised tokens [B, T, F * D] -> raw frames [B, T * F, D]
  Tensor tokens(const Tensor& frames) const;            // raw frames [B, T * F, D] -> normalised tokens [B, T, F * D]
  Tensor observation(const Tensor& observation) const;  // raw [B, O] -> normalised [B, O], what an encoded latent sees

 private:
  FrameSizes sizes_;
  int64_t frame_stack_, frame_size_;
  Tensor mean_, std_;  // float32 [D]
};

}  // namespace df
