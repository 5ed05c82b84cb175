// SPDX-License-Identifier: MIT
#include "models/temporal_blocks.hpp"

#include <ATen/ATen.h>

#include "ops/image.hpp"
#include "ops/image_layout.hpp"

namespace df::layers {

Tensor image_of_frames(const Tensor& frames) {
  // Kernels for tensor cores read bfloat16 numbers eight at a time; with fewer channels cuDNN falls back on others that are many times
  // slower.
  const int64_t missing = ops::missing_channels(frames.size(2), frames.device());
  const Tensor image = (missing > 0 ? at::constant_pad_nd(frames, {0, missing}) : frames).transpose(1, 2).unsqueeze(2);
  return image.contiguous(ops::fused(frames.device()) ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous);
}

Tensor Conv1d::convolve(const Tensor& x, const Tensor& bias, const Call&) const {
  Tensor w = weight();
  const int64_t in = x.size(1) - w.size(1), out = ops::missing_channels(w.size(0), w.device());
  if (in > 0 || out > 0) w = at::constant_pad_nd(w, {0, 0, 0, in, 0, out});
  return at::conv2d(x, w.unsqueeze(2), bias, at::IntArrayRef{1, stride_}, at::IntArrayRef{0, padding_});
}

Tensor DoublingConv1d::convolve(const Tensor& x, const Tensor& bias, const Call&) const {
  return at::conv_transpose2d(x, weight().unsqueeze(2), bias, at::IntArrayRef{1, 2}, at::IntArrayRef{0, 1});
}

ConvBlock::ConvBlock(int64_t in, int64_t out, int64_t kernel, at::Generator generator) {
  const auto block = add<Group>(*this, "block");
  conv_ = add<Conv1d>(*block, "0", in, out, kernel, 1, generator);
  const auto norm = add<Group>(*block, "2");
  scale_ = norm->register_parameter("weight", at::ones({out}));
  shift_ = norm->register_parameter("bias", at::zeros({out}));
}

Tensor ConvBlock::operator()(const Tensor& x, const Call& call, const Unbiased& residual) const {
  if (ops::fused(x.device())) {
    const ops::NormVectors vectors{call.vectors.of(scale_), call.vectors.of(shift_), call.vectors.of(conv_->bias()), residual.bias};
    return ops::group_norm(conv_->without_bias(x, call), vectors, GroupNorm::groups, Activation::mish, residual.x);
  }
  Tensor y = at::mish(at::group_norm((*conv_)(x, call), GroupNorm::groups, scale_, shift_));
  if (residual.x.defined()) y = y + residual.x;
  return residual.bias.defined() ? y + residual.bias.unsqueeze(-1).unsqueeze(-1) : y;
}

ResidualTemporalBlock::ResidualTemporalBlock(int64_t in, int64_t out, int64_t time, int64_t kernel, at::Generator generator) {
  const auto blocks = add<Group>(*this, "blocks");
  first_ = add<ConvBlock>(*blocks, "0", in, out, kernel, generator);
  second_ = add<ConvBlock>(*blocks, "1", out, out, kernel, generator);
  time_ = add<Linear>(*add<Group>(*this, "time_mlp"), "1", time, out, generator);
  if (in != out) shortcut_ = add<Conv1d>(*this, "residual_conv", in, out, 1, 1, generator);
}

void ResidualTemporalBlock::vectors(std::vector<Tensor>& all) const {
  first_->vectors(all);
  second_->vectors(all);
  if (shortcut_) all.push_back(shortcut_->bias());
}

Tensor ResidualTemporalBlock::operator()(const Tensor& x, const Call& call) const {
  const Unbiased shortcut = shortcut_ ? shortcut_->unbiased(x, call) : Unbiased{x, {}};
  const Tensor h = (*first_)(x, call, {{}, call.vectors.of(time_->bias())});
  return (*second_)(h, call, {shortcut.x, call.vectors.of(shortcut.bias)});
}

TimeEmbedding::TimeEmbedding(int64_t dim, at::Generator generator)
    : sinusoids_(add<SinusoidalEmbedding>(*this, "0", dim)),
      first_(add<Linear>(*this, "1", dim, 4 * dim, generator)),
      second_(add<Linear>(*this, "3", 4 * dim, dim, generator)) {}

Tensor TimeEmbedding::operator()(const Tensor& k) const { return (*second_)(at::mish((*first_)((*sinusoids_)(k)))); }

}  // namespace df::layers
