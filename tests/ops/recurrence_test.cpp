// SPDX-License-Identifier: MIT
// The operators of the MLP-GRU's recurrence against autograd, and what the recurrence refuses.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/autograd.h>

#include "core/autocast.hpp"
#include "diffusion_forcing/config/roles.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/models/mlp_gru.hpp"
#include "support/plain_kernels.hpp"
#include "support/support.hpp"

namespace df {
namespace {

using test::close;

Tensor numbers(at::IntArrayRef sizes, uint64_t seed) { return seeded_normal(sizes.vec(), seed).to(at::kDouble); }

TEST(Operators, AddGelu) {
  for (const bool more : {false, true}) {
    const Tensor x = numbers({5, 6}, 1).requires_grad_(true), dy = numbers({5, 6}, 2), extra = numbers({5, 6}, 3);
    const Tensor bias = more ? numbers({6}, 4) : Tensor(), residual = more ? numbers({5, 12}, 5).narrow(1, 3, 6) : Tensor();
    const Tensor sum = more ? x + bias + residual : x + 0, y = at::gelu(sum);
    const Tensor added = x.detach().clone(), out = at::empty({5, 6}, at::kDouble), dx = at::empty({5, 12}, at::kDouble).narrow(1, 1, 6);
    ops::add_gelu(added, bias, residual, out);
    EXPECT_TRUE(close(added, sum.detach(), 1e-12));
    EXPECT_TRUE(close(out, y.detach(), 1e-12));
    ops::gelu_backward(dy, more ? extra : Tensor(), added, dx);
    EXPECT_TRUE(close(dx, torch::autograd::grad({y}, {x}, {more ? dy + extra : dy})[0], 1e-12));
  }
}

TEST(Operators, Gru) {
  const Tensor input = numbers({5, 4}, 1), z = numbers({5, 4}, 2).requires_grad_(true), dy = numbers({5, 4}, 3),
               before = numbers({5, 4}, 8);
  const Tensor ih = numbers({12, 4}, 4), hh = numbers({12, 4}, 5), bias_ih = numbers({12}, 6), bias_hh = numbers({12}, 7);
  const Tensor a = at::linear(input, ih, bias_ih).requires_grad_(true), b = at::linear(z.detach(), hh, bias_hh).requires_grad_(true);
  const Tensor y = at::empty({5, 4}, at::kDouble), dz = before.clone();
  ops::gru(a.detach(), b.detach(), z.detach(), y);
  EXPECT_TRUE(close(y, at::gru_cell(input, z, ih, hh, bias_ih, bias_hh).detach(), 1e-12));

  const auto x = a.chunk(3, 1), h = b.chunk(3, 1);
  const Tensor u = at::sigmoid(x[1] + h[1]), n = at::tanh(x[2] + at::sigmoid(x[0] + h[0]) * h[2]);
  const auto expected = torch::autograd::grad({n + u * (z - n)}, {a, b, z}, {dy});
  const Tensor da = at::empty({5, 12}, at::kDouble), db = at::empty({5, 24}, at::kDouble).narrow(1, 12, 12);
  ops::gru_backward(a.detach(), b.detach(), z.detach(), dy, da, db, dz);
  EXPECT_TRUE(close(da, expected[0], 1e-12));
  EXPECT_TRUE(close(db, expected[1], 1e-12));
  EXPECT_TRUE(close(dz - before, expected[2], 1e-12)) << "added to what was there";
}

struct Sequence {
  std::shared_ptr<CausalModel> model;
  Tensor x, k, z;
};

Sequence sequence(int64_t gru_layers = 2) {
  MlpGruConfig config;
  config.width = 4;
  config.latent = 8;
  config.mlp_layers = 3;
  config.gru_layers = gru_layers;
  Sequence s{make_model(config, {{6}, 0, {}, 1}, 1), seeded_normal({3, 5, 6}, 1), at::full({3, 5}, 500, at::kLong),
             seeded_normal({3, 8}, 2)};
  s.x.requires_grad_(true);
  return s;
}

TEST(Recurrence, EveryWeightsGradientIsThatOfSteps) {
  Sequence s = sequence();
  s.model->to(at::kDouble);
  s.x = s.x.detach().to(at::kDouble), s.z = at::zeros({3, 8}, at::kDouble);
  const auto named = s.model->named_parameters();
  const auto gradients = [&](const SequenceOutput& out) { return torch::autograd::grad({out.prediction.square().sum()}, named.values()); };
  const auto all = gradients(s.model->unroll(s.x, s.k, {}, s.z)), expected = gradients(s.model->CausalModel::unroll(s.x, s.k, {}, s.z));
  for (size_t i = 0; i < all.size(); ++i) EXPECT_TRUE(close(all[i], expected[i], 1e-10)) << named.keys()[i];
  // Optimisers change gradients in place.
  for (size_t i = 0; i < all.size(); ++i)
    for (size_t j = 0; j < i; ++j) EXPECT_FALSE(all[i].is_alias_of(all[j]) && all[i].data_ptr() == all[j].data_ptr()) << named.keys()[i];
}

// The list of layers that kernels run, on plain operators.
TEST(Recurrence, ListOfLayersGivesWhatOperatorsGive) {
  for (const bool frozen : {false, true}) {
    Sequence s = sequence(1);
    s.model->to(at::kDouble);
    s.x = s.x.detach().to(at::kDouble).requires_grad_(true), s.z = s.z.to(at::kDouble);
    std::vector<Tensor> inputs = s.model->parameters();
    if (frozen) {
      for (Tensor parameter : inputs) parameter.requires_grad_(false);
      inputs.clear();
    }
    inputs.push_back(s.x);
    const ops::test::PlainTokenLayers all_at_once;
    const auto results = [&](const ops::TokenLayerKernels* kernels) {
      ops::Kernels tables;
      tables.token_layers = kernels;
      const ops::UseKernels used(at::kCPU, tables);
      const auto out = s.model->unroll(s.x, s.k, {}, s.z);
      auto all = torch::autograd::grad({out.prediction.square().sum() + out.z.sin().sum()}, inputs, {}, true);
      all.push_back(out.z.detach());
      const at::NoGradGuard no_grad;
      all.push_back(s.model->unroll(s.x, s.k, {}, s.z).z);
      return all;
    };
    const auto expected = results(nullptr), all = results(&all_at_once);
    bool differs = false;  // in rounding, or the list would not have run
    for (size_t i = 0; i < all.size(); ++i) {
      EXPECT_TRUE(close(all[i], expected[i], 1e-11)) << i;
      differs = differs || !at::equal(all[i], expected[i]);
    }
    EXPECT_TRUE(differs);
  }
}

TEST(Recurrence, FrozenWeightsChangeNoGradientOfTheTokens) {
  const Sequence s = sequence();
  const auto gradient = [&] { return torch::autograd::grad({s.model->unroll(s.x, s.k, {}, s.z).prediction.square().sum()}, {s.x})[0]; };
  const Tensor learning = gradient();
  for (Tensor parameter : s.model->parameters()) parameter.requires_grad_(false);
  EXPECT_TRUE(test::identical(gradient(), learning));
}

TEST(Recurrence, Float64GradientsAreThoseOfFiniteDifferences) {
  Sequence s = sequence();
  s.model->to(at::kDouble);
  s.x = s.x.detach().to(at::kDouble).requires_grad_(true), s.z = s.z.to(at::kDouble);
  const auto loss = [&](const Tensor& x) { return s.model->unroll(x, s.k, {}, s.z).prediction.square().sum(); };
  const Tensor gradient = torch::autograd::grad({loss(s.x)}, {s.x})[0], direction = numbers({3, 5, 6}, 9);
  const at::NoGradGuard no_grad;
  const Tensor difference = (loss(s.x + 1e-5 * direction) - loss(s.x - 1e-5 * direction)) / 2e-5;
  EXPECT_NEAR((gradient * direction).sum().item<double>(), difference.item<double>(), 1e-6 * std::abs(difference.item<double>()));
}

TEST(Recurrence, Bfloat16StaysNearFloat32) {
  const Sequence s = sequence();
  const auto parameters = s.model->parameters();
  const auto gradients = [&](bool bf16) {
    Tensor loss;
    {
      const Autocast autocast(at::kCPU, bf16, true);
      loss = s.model->unroll(s.x, s.k, {}, s.z).prediction.to(at::kFloat).square().sum();
    }
    auto all = torch::autograd::grad({loss}, parameters);
    for (Tensor& gradient : all) gradient = gradient.flatten();
    return at::cat(all);
  };
  const Tensor exact = gradients(false), rounded = gradients(true);
  EXPECT_LT((rounded - exact).norm().item<double>(), 0.05 * exact.norm().item<double>());
  EXPECT_GT((rounded - exact).norm().item<double>(), 0.0);
}

TEST(Recurrence, RefusesGradientsOfGradients) {
  const Sequence s = sequence();
  const Tensor loss = s.model->unroll(s.x, s.k, {}, s.z).prediction.square().sum();
  EXPECT_NE(test::error_of([&] { torch::autograd::grad({loss}, {s.x}, {}, true, /*create_graph=*/true); }).find("gradient of a gradient"),
            std::string::npos);
}

}  // namespace
}  // namespace df
