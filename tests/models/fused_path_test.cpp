// SPDX-License-Identifier: MIT
// The way through the U-Nets that devices with kernels take, with kernels of plain operators on the CPU: what it computes is what the CPU's
// own way does.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/autograd.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "core/autocast.hpp"
#include "core/fused_kernels.hpp"
#include "diffusion/token_error.hpp"
#include "diffusion_forcing/config/roles.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/models/temporal_unet.hpp"
#include "diffusion_forcing/models/unet_gru.hpp"
#include "models/ops.hpp"
#include "models/shared_weights.hpp"
#include "sampling/cell_moves.hpp"
#include "support/support.hpp"

namespace df {
namespace {

using Tensors = std::vector<Tensor>;

// Gradients of f(inputs); undefined inputs stay so.
Tensors gradients(const std::function<Tensor(const Tensors&)>& f, const Tensors& inputs, const Tensor& dy) {
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

Tensor joined(const ImagePair& x) { return x.second.defined() ? at::cat({x.first, x.second}, 1) : x.first; }

class PlainKernels : public FusedKernels {
 public:
  GroupNormOutput group_norm(const GroupNormInput& in) const override { return {norm({}, in), at::zeros({1})}; }
  GroupNormGradient group_norm_backward(const GroupNormInput& in, const Tensor&, const Tensor& dy) const override {
    const auto d = gradients([&](const Tensors& all) { return norm(all, in); }, {in.x, in.gain, in.shift, in.x_bias, in.residual_bias}, dy);
    return {d[0], d[1], d[2], d[3], d[4]};
  }
  Tensor add_bias(const Tensor& x, const Tensor& bias, const Tensor& residual) const override {
    return ops::plain::add_bias(x, bias, residual);
  }
  Tensor pixel_sums(const Tensor& x) const override { return x.sum({2, 3}); }
  Tensor upsample(const Tensor& x) const override { return ops::plain::upsample(x); }
  Tensor upsample_backward(const Tensor& dy) const override { return 4 * at::avg_pool2d(dy, 2); }
  Tensor concatenate(const Tensor& a, const Tensor& b) const override { return ops::plain::concatenate(a, b); }
  Tensor gather(const Tensor& x, int64_t row, const Tensor& more) const override {
    const auto width = x.size(3), height = x.size(2);
    const Tensor parts = x.as_strided(x.sizes(), {height * width * row, 1, width * row, row});
    return more.defined() ? parts + more : parts.contiguous(at::MemoryFormat::ChannelsLast);
  }
  Tensor rms_norm(const RmsNormInput& in) const override { return ops::plain::rms_norm(in.x, in.x_bias, in.g, in.residual); }
  RmsNormGradient rms_norm_backward(const RmsNormInput& in, const Tensor& dy, const Tensor& more) const override {
    const auto f = [](const Tensors& all) { return ops::plain::rms_norm(all[0], all[1], all[2], {}); };
    const auto d = gradients(f, {in.x, in.x_bias, in.g}, dy);
    return {more.defined() ? d[0] + more : d[0], d[1], d[2]};
  }
  bool has_convolution(const ImagePair&, const Tensor&) const override { return true; }
  Tensor convolution(const ImagePair& x, const Tensor& w, const Tensor& bias) const override {
    const Tensor y = at::conv2d(joined(x), w, {}, 1, w.size(2) / 2);
    return bias.defined() ? ops::plain::add_bias(y, bias, {}) : y;
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
      const Tensor x = joined(batches.x[i]), &dy = batches.dy[i];
      EXPECT_EQ(x.sizes(), joined(batches.x[0]).sizes()) << "a kernel looks at the sizes of the first alone";
      EXPECT_EQ(dy.sizes(), batches.dy[0].sizes());
      const auto f = [&](const Tensors& w) { return at::conv2d(x, w[0], {}, 1, side / 2); };
      const Tensor dw = gradients(f, {at::zeros({dy.size(1), x.size(1), side, side}, x.options())}, dy)[0];
      sum = sum.defined() ? sum + dw : dw;
    }
    return sum;
  }
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
  void add_gelu(const Tensor& x, const Tensor& bias, const Tensor& residual, const Tensor& y) const override {
    ops::plain::add_gelu(x, bias, residual, y);
  }
  void gelu_backward(const Tensor& dy, const Tensor& more, const Tensor& x, const Tensor& dx) const override {
    ops::plain::gelu_backward(dy, more, x, dx);
  }
  void gru(const GruInput& in, const Tensor& y) const override { ops::plain::gru(in.from_x, in.from_z, in.z, y); }
  void gru_backward(const GruInput& in, const Tensor& dy, const Tensor& dfrom_x, const Tensor& dfrom_z, const Tensor& dz) const override {
    ops::plain::gru_backward(in.from_x, in.from_z, in.z, dy, dfrom_x, dfrom_z, dz);
  }
  CellInputs gather_cells(const Tensor& table, const Tensor& x, const Tensor& z) const override {
    return plain::gather_cells(table, {x, z, {}});
  }
  void move_cells(const Tensor& table, const CellOutputs& outputs, const CellBounds& bounds, const Tensor& x,
                  const Tensor& z) const override {
    plain::move_cells(table, outputs, bounds, {x, z, {}});
  }
  Tensor mix_tokens(const TokenMix& mix) const override { return plain::mix_tokens(mix); }
  Tensor weighted_error(const TokenError& error) const override { return plain::weighted_error(error); }
  Tensor weighted_error_backward(const TokenError& error, const Tensor& upstream) const override {
    const auto f = [&](const Tensors& all) { return plain::weighted_error({error.target, all[0], error.weight}); };
    return gradients(f, {error.prediction}, upstream).front();
  }
  void token_layers(const TokenLayers& network) const override { ops::plain::token_layers(network); }

 private:
  // The input with the tensors of `all`, where there are any, in place of its own.
  static Tensor norm(const Tensors& all, const GroupNormInput& in) {
    const Tensor& x = all.empty() ? in.x : all[0];
    const ops::NormVectors own{in.gain, in.shift, in.x_bias, in.residual_bias};
    const ops::NormVectors vectors = all.empty() ? own : ops::NormVectors{all[1], all[2], all[3], all[4]};
    return ops::plain::group_norm(x, vectors, in.groups, in.activation, in.residual).to(x.scalar_type());
  }
};

class FusedPath : public ::testing::Test {
 protected:
  void TearDown() override { set_fused_kernels(at::kCPU, nullptr); }
  void use_kernels() { set_fused_kernels(at::kCPU, &kernels_); }

 private:
  PlainKernels kernels_;
};

struct Case {
  std::string name;
  ModelConfig config;
  TokenSpec spec;
};

std::vector<Case> cases() {
  UnetGruConfig small;
  small.width = 16;
  small.latent = 8;
  small.multipliers = {1, 2};
  small.attention = {Attention::linear, Attention::full};
  small.heads = 2;
  UnetGruConfig gru = small, narrow = small;
  gru.gru_layers = 1;
  narrow.latent = 4;  // no whole vector: some kernels do not take it
  narrow.attention = {Attention::full, Attention::none};
  narrow.patch = 2;
  narrow.gru_layers = 1;
  TemporalUnetConfig temporal, flat;  // frames that are no whole vector, and frames that are: the first shortcut has nothing to do
  temporal.dim = 16;
  temporal.multipliers = {1, 2, 3};
  flat.dim = 16;
  flat.multipliers = {1};
  flat.kernel = 3;
  return {{"small", small, {{3, 8, 8}, 0, {}, 1}},
          {"gru", gru, {{3, 8, 8}, 2, {}, 1}},
          {"narrow", narrow, {{3, 8, 8}, 0, {}, 1}},
          {"temporal", temporal, {{16, 6}, 8, {}, 16}},
          {"flat", flat, {{6, 16}, 8, {}, 6}}};
}

TEST_F(FusedPath, ComputesWhatTheCpuDoes) {
  constexpr int64_t batch = 3, tokens = 4;
  for (const Case& c : cases()) {
    const auto model = make_model(c.config, c.spec, 1);
    for (Tensor& parameter : model->parameters())  // not those of the start: a gain of 1 or a bias of 0 hides a mistake
      parameter.set_data(parameter.detach() + 0.1 * at::randn(parameter.sizes(), make_generator(static_cast<uint64_t>(parameter.numel()))));
    const Tensor x = seeded_normal(shape({batch, tokens}, model->token_shape()), 2).requires_grad_(),
                 z = seeded_normal(shape({batch}, model->latent_shape()), 3);
    const Tensor k = at::randint(0, 1001, {batch, tokens}, make_generator(4), at::TensorOptions(at::kLong));
    const Tensor condition = c.spec.condition_dim > 0 ? seeded_normal({batch, tokens, c.spec.condition_dim}, 5) : Tensor();
    Tensors of = {x};
    for (const auto& parameter : model->parameters()) of.push_back(parameter);
    const auto run = [&] {
      const auto out = model->unroll(x, k, condition, z);
      Tensors all = torch::autograd::grad({out.prediction.square().sum() + out.z.square().sum()}, of, {}, false, false, true);
      all.push_back(out.prediction.detach());
      all.push_back(out.z.detach());
      const at::NoGradGuard no_grad;
      const auto step = model->step(x.select(1, 0), k.select(1, 0), condition.defined() ? condition.select(1, 0) : condition, z);
      all.insert(all.end(), {step.prediction, step.z});
      return all;
    };
    const Tensors expected = run();
    use_kernels();
    for (const bool recompute : {false, true}) {
      SCOPED_TRACE(c.name + (recompute ? ", recomputed" : ""));
      model->set_recompute(recompute);
      const Tensors found = run();
      for (size_t i = 0; i < found.size(); ++i) {
        ASSERT_EQ(found[i].defined(), expected[i].defined()) << i;
        if (found[i].defined()) {
          EXPECT_TRUE(test::close(found[i], expected[i], 2e-4)) << i;
        }
      }
    }
    set_fused_kernels(at::kCPU, nullptr);
  }
}

// With kernels and without: what a norm makes of an image, and the gradients of its vectors, are its own.
TEST_F(FusedPath, NormsTakeVectorsByImage) {
  const Tensor x = seeded_normal({3, 8, 2, 5}, 1), residual = seeded_normal({3, 8, 2, 5}, 2), dy = seeded_normal({3, 8, 2, 5}, 3);
  const Tensor x_bias = seeded_normal({3, 8}, 4), g = seeded_normal({3, 8}, 5);
  const auto run = [&](auto f, const Tensors& in, const Tensor& upstream) {
    Tensors all = gradients(f, in, upstream);
    all.push_back(f(in));
    return all;
  };
  const auto norm = [](const Tensors& in) { return ops::rms_norm(in[0], in[1], in[2], in[3]); };
  const auto by_hand = [](const Tensors& in) {  // of one image, without N
    const Tensor v = in[0] + in[1].view({8, 1, 1});
    return v / v.square().sum(0, true).sqrt() * std::sqrt(8.0) * in[2].view({8, 1, 1}) + in[3];
  };
  for (const bool fused : {false, true}) {
    if (fused) use_kernels();
    const Tensors found = run(norm, {x, x_bias, g, residual}, dy);
    for (int64_t n = 0; n < 3; ++n) {
      const Tensors expected = run(by_hand, {x[n], x_bias[n], g[n], residual[n]}, dy[n]);
      for (size_t i = 0; i < expected.size(); ++i) EXPECT_TRUE(test::close(found[i][n], expected[i], 1e-5)) << n << ", " << i;
    }
  }
}

// More tokens than a kernel adds up at a time, of images of two sizes.
TEST_F(FusedPath, AddsWeightGradientsOfTokensOfAnySize) {
  use_kernels();
  const Tensor w = seeded_normal({8, 8, 3, 3}, 1).contiguous(at::MemoryFormat::ChannelsLast).requires_grad_();
  const Tensor large = seeded_normal({2, 8, 6, 6}, 2), small = seeded_normal({2, 8, 3, 3}, 3);
  const auto gradient = [&](auto convolve) {
    Tensor loss = at::zeros({});
    for (int token = 0; token < 12; ++token) loss = loss + convolve((token == 1 ? small : large) * (token + 1)).square().sum();
    return torch::autograd::grad({loss}, {w})[0];
  };
  const Tensor expected = gradient([&](const Tensor& x) { return at::conv2d(x, w, {}, 1, 1); });
  const layers::SharedWeights shared({w});
  const Tensor found = gradient([&](const Tensor& x) { return layers::convolution(x, w, {}, 1, 1); });
  EXPECT_TRUE(test::close(found / expected.abs().max(), expected / expected.abs().max(), 1e-5));
}

// Without gradients what follows from weights alone is made once; weights that change must be seen.
TEST_F(FusedPath, FollowsWeightsThatChange) {
  const at::NoGradGuard no_grad;
  UnetGruConfig config;
  config.width = 16;
  config.multipliers = {1, 2};
  config.attention = {Attention::none, Attention::full};
  const auto model = make_model(config, {{4, 8, 8}, 0, {}, 1}, 1);
  const Tensor x = seeded_normal({2, 4, 8, 8}, 2), z = model->initial_latent(2, {}), k = at::tensor({5, 900});
  const auto run = [&](bool fused) {
    fused ? use_kernels() : set_fused_kernels(at::kCPU, nullptr);
    return model->step(x, k, {}, z).prediction;
  };
  const Tensor first = run(true);
  EXPECT_TRUE(test::close(first, run(false), 2e-4));
  for (const Tensor& parameter : model->parameters()) parameter.mul_(1.1);
  const Tensor scaled = run(true);
  EXPECT_FALSE(test::close(scaled, first, 1e-2));
  EXPECT_TRUE(test::close(scaled, run(false), 2e-4));
  for (Tensor& parameter : model->parameters()) parameter.set_data(parameter.detach() * 0.9);
  EXPECT_TRUE(test::close(run(true), run(false), 2e-4));
}

// In bfloat16 what rounds is no more than it must be: trajectories and their gradients stay near those in float32.
TEST_F(FusedPath, OfTrajectoriesIsCloseInBfloat16) {
  const auto model = make_model(TemporalUnetConfig{}, {{64, 6}, 8, {}, 64}, 1);
  const Tensor x = seeded_normal({4, 1, 64, 6}, 2), c = seeded_normal({4, 1, 8}, 3), k = at::tensor({1, 20, 100, 256}).unsqueeze(1);
  const auto run = [&](bool bf16) {
    Tensor prediction;
    {
      const Autocast precision(at::kCPU, bf16, bf16);
      prediction = model->unroll(x, k, c, model->initial_latent(4, {})).prediction;
    }
    Tensors weights, vectors;
    const auto parameters = model->parameters();
    const auto found = torch::autograd::grad({(prediction - x).square().mean()}, parameters);
    for (size_t i = 0; i < found.size(); ++i) (parameters[i].dim() == 1 ? vectors : weights).push_back(found[i].flatten());
    return Tensors{prediction.detach(), at::cat(weights), at::cat(vectors)};
  };
  const Tensors expected = run(false), usual = run(true);
  use_kernels();
  const Tensors found = run(true);
  EXPECT_EQ(found[0].scalar_type(), at::kFloat);
  const auto distance = [](const Tensor& a, const Tensor& b) { return ((a - b).norm() / b.norm()).item<double>(); };
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_LT(distance(found[i], expected[i]), 3e-2) << i;
    EXPECT_LT(distance(found[i], expected[i]), 1.2 * distance(usual[i], expected[i])) << i << ", against plain operators";
  }
}

}  // namespace
}  // namespace df
