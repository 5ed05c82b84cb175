// SPDX-License-Identifier: MIT
// A device's kernels made of plain tensor operators, so that the way through the networks that devices with kernels take runs on the CPU.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/autograd.h>

#include <functional>
#include <vector>

#include "diffusion_forcing/core/error.hpp"
#include "ops/attention.hpp"
#include "ops/cell_moves.hpp"
#include "ops/convolution_passes.hpp"
#include "ops/image.hpp"
#include "ops/kernels.hpp"
#include "ops/pointwise.hpp"
#include "ops/token_error.hpp"
#include "ops/token_layers.hpp"

namespace df::ops::test {

using Tensors = std::vector<Tensor>;

// Gradients of f(inputs); undefined inputs stay so.
inline Tensors gradients(const std::function<Tensor(const Tensors&)>& f, const Tensors& inputs, const Tensor& dy) {
  const at::AutoGradMode enabled(true);
  Tensors leaves, given;
  for (const Tensor& input : inputs) {
    leaves.push_back(input.defined() ? input.detach().requires_grad_() : input);
    if (input.defined()) given.push_back(leaves.back());
  }
  const Tensors found = torch::autograd::grad({f(leaves)}, given, {dy});
  Tensors all;
  size_t next = 0;
  for (const Tensor& leaf : leaves) all.push_back(leaf.defined() ? found[next++] : Tensor());
  return all;
}

inline Tensor plainly_joined(const ImagePair& x) { return x.second.defined() ? at::cat({x.first, x.second}, 1) : x.first; }

class PlainImages final : public ImageKernels {
 public:
  GroupNormOutput group_norm(const GroupNormInput& in) const override { return {norm({}, in), at::zeros({1})}; }
  GroupNormGradient group_norm_backward(const GroupNormInput& in, const Tensor&, const Tensor& dy) const override {
    const auto d = gradients([&](const Tensors& all) { return norm(all, in); }, {in.x, in.gain, in.shift, in.x_bias, in.residual_bias}, dy);
    return {d[0], d[1], d[2], d[3], d[4]};
  }
  Tensor add_bias(const Tensor& x, const Tensor& bias, const Tensor& residual) const override { return plain::add_bias(x, bias, residual); }
  Tensor pixel_sums(const Tensor& x) const override { return x.sum({2, 3}); }
  Tensor upsample(const Tensor& x) const override { return plain::upsample(x); }
  Tensor upsample_backward(const Tensor& dy) const override { return 4 * at::avg_pool2d(dy, 2); }
  Tensor concatenate(const Tensor& a, const Tensor& b) const override { return plain::concatenate(a, b); }
  Tensor gather(const Tensor& x, int64_t row, const Tensor& more) const override {
    const auto width = x.size(3), height = x.size(2);
    const Tensor parts = x.as_strided(x.sizes(), {height * width * row, 1, width * row, row});
    return more.defined() ? parts + more : parts.contiguous(at::MemoryFormat::ChannelsLast);
  }
  Tensor rms_norm(const RmsNormInput& in) const override { return plain::rms_norm(in.x, in.x_bias, in.g, in.residual); }
  RmsNormGradient rms_norm_backward(const RmsNormInput& in, const Tensor& dy, const Tensor& more) const override {
    const auto f = [](const Tensors& all) { return plain::rms_norm(all[0], all[1], all[2], {}); };
    const auto d = gradients(f, {in.x, in.x_bias, in.g}, dy);
    return {more.defined() ? d[0] + more : d[0], d[1], d[2]};
  }

 private:
  // The input with the tensors of `all`, where there are any, in place of its own.
  static Tensor norm(const Tensors& all, const GroupNormInput& in) {
    const Tensor& x = all.empty() ? in.x : all[0];
    const NormVectors own{in.gain, in.shift, in.x_bias, in.residual_bias};
    const NormVectors vectors = all.empty() ? own : NormVectors{all[1], all[2], all[3], all[4]};
    return plain::group_norm(x, vectors, in.groups, in.activation, in.residual).to(x.scalar_type());
  }
};

class PlainConvolutions final : public ConvolutionKernels {
 public:
  bool has_convolution(const ImagePair&, const Tensor&) const override { return true; }
  Tensor convolution(const ImagePair& x, const Tensor& w, const Tensor& bias) const override {
    const Tensor y = at::conv2d(plainly_joined(x), w, {}, 1, w.size(2) / 2);
    return bias.defined() ? plain::add_bias(y, bias, {}) : y;
  }
  bool has_convolution_backward(const Tensor&, const Tensor&, int64_t, int64_t) const override { return true; }
  ImagePair convolution_backward(const Tensor& dy, const Tensor& w, int64_t first, int64_t second, const ImagePair& more) const override {
    const Tensor dx = at::conv_transpose2d(dy, w, {}, 1, w.size(2) / 2);
    const auto part = [&](int64_t from, int64_t channels, const Tensor& also) {
      const Tensor own = dx.narrow(1, from, channels).contiguous(at::MemoryFormat::ChannelsLast);
      return also.defined() ? own + also : own;
    };
    return {part(0, first, more.first), second > 0 ? part(first, second, more.second) : Tensor()};
  }
  bool has_convolution_weights(const ImagePair&, const Tensor&, const Tensor&) const override { return true; }
  Tensor convolution_weights(const ConvolutionBatches& batches, int64_t side, const Tensor& more) const override {
    Tensor sum = more;
    for (size_t i = 0; i < batches.dy.size(); ++i) {
      const Tensor x = plainly_joined(batches.x[i]), &dy = batches.dy[i];
      EXPECT_EQ(x.sizes(), plainly_joined(batches.x[0]).sizes()) << "a kernel looks at the sizes of the first alone";
      EXPECT_EQ(dy.sizes(), batches.dy[0].sizes());
      const auto f = [&](const Tensors& w) { return at::conv2d(x, w[0], {}, 1, side / 2); };
      const Tensor dw = gradients(f, {at::zeros({dy.size(1), x.size(1), side, side}, x.options())}, dy)[0];
      sum = sum.defined() ? sum + dw : dw;
    }
    return sum;
  }
};

class PlainAttention final : public AttentionKernels {
 public:
  LinearAttentionOutput linear_attention(const LinearAttentionInput&) const override { throw Error("bfloat16 only"); }
  LinearAttentionGradient linear_attention_backward(const LinearAttentionInput&, const LinearAttentionOutput&,
                                                    const Tensor&) const override {
    throw Error("bfloat16 only");
  }
  Tensor with_memory(const Tensor& qkv, const Tensor& memory) const override {
    const auto with = [&](int64_t part) { return at::cat({memory.select(1, part).transpose(1, 2), qkv.select(2, 1 + part)}, 1); };
    return at::stack({with(0), with(1)});
  }
  MemoryTokensGradient with_memory_backward(const Tensor& dq, const Tensor& dk, const Tensor& dv) const override {
    const int64_t memories = dk.size(1) - dq.size(1);
    const auto own = [&](const Tensor& x) { return x.slice(1, memories); };
    const auto extra = [&](const Tensor& x) { return x.slice(1, 0, memories).transpose(1, 2); };
    return {at::stack({dq, own(dk), own(dv)}, 2), at::stack({extra(dk), extra(dv)}, 1)};
  }
};

class PlainPointwise final : public PointwiseKernels {
 public:
  void add_gelu(const Tensor& x, const Tensor& bias, const Tensor& residual, const Tensor& y) const override {
    plain::add_gelu(x, bias, residual, y);
  }
  void gelu_backward(const Tensor& dy, const Tensor& more, const Tensor& x, const Tensor& dx) const override {
    plain::gelu_backward(dy, more, x, dx);
  }
  void gru(const GruInput& in, const Tensor& y) const override { plain::gru(in.from_x, in.from_z, in.z, y); }
  void gru_backward(const GruInput& in, const Tensor& dy, const Tensor& dfrom_x, const Tensor& dfrom_z, const Tensor& dz) const override {
    plain::gru_backward(in.from_x, in.from_z, in.z, dy, dfrom_x, dfrom_z, dz);
  }
};

class PlainCells final : public CellKernels {
 public:
  CellInputs gather_cells(const Tensor& table, const Tensor& x, const Tensor& z) const override { return plain::gather_cells(table, x, z); }
  void move_cells(const Tensor& table, const CellOutputs& outputs, const CellBounds& bounds, const Tensor& x,
                  const Tensor& z) const override {
    plain::move_cells(table, outputs, bounds, x, z);
  }
};

class PlainErrors final : public ErrorKernels {
 public:
  Tensor mix_tokens(const TokenMix& mix) const override { return plain::mix_tokens(mix); }
  Tensor weighted_error(const TokenError& error) const override { return plain::weighted_error(error); }
  Tensor weighted_error_backward(const TokenError& error, const Tensor& upstream) const override {
    const auto f = [&](const Tensors& all) { return plain::weighted_error({error.target, all[0], error.weight}); };
    return gradients(f, {error.prediction}, upstream).front();
  }
};

class PlainTokenLayers final : public TokenLayerKernels {
 public:
  bool faster(at::ScalarType, int64_t) const override { return true; }
  void token_layers(const TokenLayers& network) const override { plain::token_layers(network); }
};

// All of the above.
struct PlainKernels {
  PlainImages images;
  PlainAttention attention;
  PlainConvolutions convolutions;
  PlainPointwise pointwise;
  PlainTokenLayers token_layers;
  PlainCells cells;
  PlainErrors errors;
  Kernels tables() const { return {&images, &attention, &convolutions, &pointwise, &token_layers, &cells, &errors}; }
};

}  // namespace df::ops::test
