// SPDX-License-Identifier: MIT
// The way through the U-Nets that devices with kernels take, with kernels of plain operators on the CPU: what it computes is what the CPU's
// own way does.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/autograd.h>

#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "core/autocast.hpp"
#include "diffusion_forcing/config/roles.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/models/temporal_unet.hpp"
#include "diffusion_forcing/models/unet_gru.hpp"
#include "ops/convolution.hpp"
#include "ops/image.hpp"
#include "ops/shared_weights.hpp"
#include "support/plain_kernels.hpp"
#include "support/support.hpp"

namespace df {
namespace {

using ops::test::gradients;
using ops::test::Tensors;

class FusedPath : public ::testing::Test {
 protected:
  void use_kernels(bool use = true) {
    used_.reset();
    if (use) used_.emplace(at::kCPU, kernels_.tables());
  }

 private:
  ops::test::PlainKernels kernels_;
  std::optional<ops::UseKernels> used_;
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
    use_kernels(false);
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
  const ops::SharedWeights shared({w});
  const Tensor found = gradient([&](const Tensor& x) { return ops::convolution(x, {w, &shared}, {}, 1, 1); });
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
    use_kernels(fused);
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
