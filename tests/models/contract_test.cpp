// SPDX-License-Identifier: MIT
// What every backbone promises (causal_model.hpp), on several networks of each.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/autocast_mode.h>
#include <gtest/gtest.h>
#include <torch/autograd.h>

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "core/autocast.hpp"
#include "diffusion_forcing/config/roles.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/models/latent_init.hpp"
#include "diffusion_forcing/models/mlp_gru.hpp"
#include "diffusion_forcing/models/temporal_unet.hpp"
#include "diffusion_forcing/models/unet_gru.hpp"
#include "support/attending_model.hpp"
#include "support/support.hpp"

namespace df {
namespace {

using test::close;
using test::identical;

struct Case {
  ModelConfig config;
  TokenSpec spec;
  bool memory = true;  // later outputs depend on earlier tokens
  std::shared_ptr<CausalModel> make(uint64_t seed) const {
    if (!attends) return make_model(config, spec, seed);
    const test::AttendingConfig attending{spec.token_shape[0], spec.condition_dim, 8, *attends, 4, seed};
    return std::make_shared<test::AttendingModel>(attending);
  }
  std::optional<int64_t> attends = std::nullopt;  // layers of a model that attends to 4 tokens
};

UnetGruConfig small_unet() {
  UnetGruConfig config;
  config.width = 16;  // two channels a group: a bias before a normalisation of one channel would learn nothing
  config.latent = 4;
  config.multipliers = {1, 2};
  config.attention = {Attention::linear, Attention::full};
  config.heads = 2;
  return config;
}

std::map<std::string, Case> cases() {
  const TokenSpec image{{3, 8, 8}, 0, {}, 1}, acted_image{{3, 8, 8}, 2, {}, 1}, vector{{6}, 0, {}, 1}, acted_vector{{6}, 3, {5}, 1},
      trajectory{{8, 6}, 8, {}, 8};
  UnetGruConfig gru = small_unet(), patched = small_unet(), deep = small_unet();
  gru.gru_layers = 1;
  patched.patch = 2;
  patched.blocks = 1;
  patched.attention = {Attention::none, Attention::none};
  patched.stem_kernel = 1;
  patched.decoder_width = 8;
  patched.latent_init = LatentInit::zero;
  deep.blocks = 3;
  deep.attention = {Attention::full, Attention::none};
  deep.middle_attention = Attention::linear;
  MlpGruConfig shallow, layered;
  shallow.width = 4;
  shallow.latent = 8;
  shallow.mlp_layers = 1;
  shallow.gru_layers = 2;
  layered.width = 4;
  layered.latent = 8;
  layered.mlp_layers = 3;
  layered.latent_init = LatentInit::encoded;
  TemporalUnetConfig temporal, flat;
  temporal.dim = 16;
  temporal.multipliers = {1, 2, 3};
  flat.dim = 16;
  flat.multipliers = {2};
  flat.kernel = 3;
  MlpGruConfig square = shallow, wide = shallow;  // widths that stay: after the cells; before them
  square.mlp_layers = wide.mlp_layers = 3;
  square.latent = 128;
  wide.latent = 118;
  return {{"UnetSmall", {small_unet(), image}},
          {"UnetGruCondition", {gru, acted_image}},
          {"UnetPatched", {patched, image}},
          {"UnetThreeBlocks", {deep, acted_image}},
          {"MlpShallow", {shallow, vector}},
          {"MlpEncodedCondition", {layered, acted_vector}},
          {"MlpSquareAfter", {square, vector}},
          {"MlpSquareBefore", {wide, vector}},
          {"TemporalUnet", {temporal, trajectory, false}},
          {"TemporalUnetOneLevel", {flat, trajectory, false}},
          {"Attending", {shallow, vector, true, 1}},
          {"AttendingInTwoLayers", {shallow, {{6}, 3, {}, 1}, true, 2}}};
}

constexpr int64_t B = 3, T = 5;

struct Inputs {
  Tensor x, k, c, z, init;
};

class Contract : public ::testing::TestWithParam<std::string> {
 protected:
  const Case case_ = cases().at(GetParam());
  const std::shared_ptr<CausalModel> model_ = case_.make(1);

  Inputs inputs(uint64_t seed) const {
    Inputs in;
    in.x = seeded_normal(shape({B, T}, case_.spec.token_shape), derive_seed(seed, {0}));
    in.k = at::randint(0, 1001, {B, T}, make_generator(seed), at::TensorOptions(at::kLong));
    if (case_.spec.condition_dim > 0) in.c = seeded_normal({B, T, case_.spec.condition_dim}, derive_seed(seed, {1}));
    // Of an attending model the window of the last three tokens.
    in.z = seeded_normal(shape(model_->history() > 1 ? Shape{B, 3} : Shape{B}, model_->latent_shape()), derive_seed(seed, {2}));
    if (!case_.spec.init_shape.empty()) in.init = seeded_normal(shape({B}, case_.spec.init_shape), derive_seed(seed, {3}));
    return in;
  }
  SequenceOutput unroll(const Inputs& in) const { return model_->unroll(in.x, in.k, in.c, in.z); }
};

Tensor tokens(const Tensor& v, int64_t from, int64_t to) { return v.defined() ? v.slice(1, from, to) : v; }
Tensor rows(const Tensor& v, int64_t from, int64_t to) { return v.defined() ? v.slice(0, from, to) : v; }

// Gradient of a number that depends on every element of the outputs.
std::vector<Tensor> gradients(const Tensor& prediction, const Tensor& z, const std::vector<Tensor>& of) {
  return torch::autograd::grad({prediction.square().sum() + z.square().sum()}, of, {}, true, false, true);
}
double largest(const Tensor& v) { return v.defined() && v.numel() > 0 ? v.abs().max().item<double>() : 0.0; }

TEST_P(Contract, ShapesAreThoseOfTheSpecification) {
  const at::NoGradGuard no_grad;
  const auto out = unroll(inputs(1));
  EXPECT_EQ(out.prediction.sizes().vec(), shape({B, T}, case_.spec.token_shape));
  EXPECT_EQ(out.z.sizes().vec(), shape({B, T}, model_->latent_shape()));
  EXPECT_EQ(model_->token_shape(), case_.spec.token_shape);
  EXPECT_EQ(model_->condition_dim(), case_.spec.condition_dim);
  EXPECT_EQ(model_->initial_latent(B, inputs(1).init).sizes().vec(),
            shape(model_->history() > 1 ? Shape{B, 0} : Shape{B}, model_->latent_shape()));
}

TEST_P(Contract, OutputsSeeNothingOfLaterTokens) {
  Inputs in = inputs(2);
  in.x.requires_grad_(true);
  std::vector<Tensor> of = {in.x};
  if (in.c.defined()) of.push_back(in.c.requires_grad_(true));
  const auto out = unroll(in);
  for (int64_t t = 0; t < T; ++t)
    for (const Tensor& gradient : gradients(out.prediction.select(1, t), out.z.select(1, t), of)) {
      EXPECT_EQ(largest(tokens(gradient, t + 1, T)), 0.0) << "token " << t;
      EXPECT_GT(largest(tokens(gradient, t, t + 1)), 0.0) << "token " << t;
      if (case_.memory) {
        EXPECT_GT(largest(tokens(gradient, 0, 1)), 0.0) << "token " << t << " forgot the first";
      }
    }
}

TEST_P(Contract, RowsDoNotSeeEachOther) {
  Inputs in = inputs(3);
  in.x.requires_grad_(true);
  in.z.requires_grad_(true);
  const auto out = unroll(in);
  for (const Tensor& gradient : gradients(out.prediction.select(0, 1), out.z.select(0, 1), {in.x, in.z})) {
    EXPECT_EQ(largest(rows(gradient, 0, 1)), 0.0);
    EXPECT_EQ(largest(rows(gradient, 2, B)), 0.0);
    EXPECT_GT(largest(rows(gradient, 1, 2)), 0.0);
  }
  const at::NoGradGuard no_grad;
  const auto alone = model_->unroll(rows(in.x, 1, 2), rows(in.k, 1, 2), rows(in.c, 1, 2), rows(in.z, 1, 2));
  EXPECT_TRUE(close(alone.prediction, rows(out.prediction, 1, 2), 1e-5));
}

TEST_P(Contract, ASequenceInTwoPartsEqualsTheWhole) {
  const at::NoGradGuard no_grad;
  const Inputs in = inputs(4);
  const auto whole = unroll(in);
  const auto first = model_->unroll(tokens(in.x, 0, 2), tokens(in.k, 0, 2), tokens(in.c, 0, 2), in.z);
  const auto second = model_->unroll(tokens(in.x, 2, T), tokens(in.k, 2, T), tokens(in.c, 2, T), model_->latent_after(in.z, first.z));
  EXPECT_TRUE(close(at::cat({first.prediction, second.prediction}, 1), whole.prediction, 1e-5));
  EXPECT_TRUE(close(at::cat({first.z, second.z}, 1), whole.z, 1e-5));
}

TEST_P(Contract, RecomputingChangesNothing) {
  const auto run = [&](bool recompute, bool autocast) {
    model_->set_recompute(recompute);
    Inputs in = inputs(6);
    in.x.requires_grad_(true);
    in.z.requires_grad_(true);
    std::vector<Tensor> of = {in.x, in.z};
    for (const Tensor& parameter : model_->parameters()) of.push_back(parameter);
    const Autocast precision(at::kCPU, autocast, true);
    const auto out = unroll(in);
    std::vector<Tensor> found = gradients(out.prediction.to(at::kFloat), out.z.to(at::kFloat), of);
    found.push_back(out.prediction.detach());
    return found;
  };
  for (const bool autocast : {false, true}) {
    const auto kept = run(false, autocast), again = run(true, autocast);
    for (size_t i = 0; i < kept.size(); ++i) {
      ASSERT_EQ(kept[i].defined(), again[i].defined()) << i;
      // The order in which gradients of a shared weight add up differs.
      if (!kept[i].defined()) continue;
      EXPECT_TRUE(close(again[i], kept[i], autocast ? 0.05 : 1e-4)) << i;
    }
  }
  const at::NoGradGuard no_grad;
  EXPECT_FALSE(unroll(inputs(6)).z.requires_grad());
}

TEST_P(Contract, UnrollEqualsStepsInValueAndGradient) {
  const Inputs in = inputs(5);
  const auto fast = unroll(in), plain = model_->CausalModel::unroll(in.x, in.k, in.c, in.z);
  EXPECT_TRUE(close(fast.prediction, plain.prediction, 1e-5));
  EXPECT_TRUE(close(fast.z, plain.z, 1e-5));
  const auto parameters = model_->parameters();
  const auto a = gradients(fast.prediction, fast.z, parameters), b = gradients(plain.prediction, plain.z, parameters);
  double scale = 0.0;
  for (const Tensor& gradient : b) scale = std::max(scale, largest(gradient));
  for (size_t i = 0; i < parameters.size(); ++i) {
    ASSERT_EQ(a[i].defined(), b[i].defined());
    if (!a[i].defined()) continue;
    EXPECT_LE(largest(a[i] - b[i]), 1e-5 * scale) << model_->named_parameters().keys()[i];
  }
}

TEST_P(Contract, EveryParameterLearns) {
  Inputs in = inputs(6);
  in.z = model_->initial_latent(B, in.init);
  const auto out = unroll(in);
  const auto parameters = model_->named_parameters();
  const auto all = gradients(out.prediction, out.z, parameters.values());
  for (size_t i = 0; i < all.size(); ++i) EXPECT_GT(largest(all[i]), 0.0) << parameters.keys()[i];
}

TEST_P(Contract, LevelsAndConditionsMatter) {
  const at::NoGradGuard no_grad;
  const Inputs in = inputs(7);
  const auto at_zero = model_->unroll(in.x, at::zeros_like(in.k), in.c, in.z).prediction;
  EXPECT_TRUE(at::isfinite(at_zero).all().item<bool>());
  for (const int64_t k : {1, 1000})
    EXPECT_FALSE(close(model_->unroll(in.x, at::full_like(in.k, k), in.c, in.z).prediction, at_zero, 1e-4)) << k;
  if (!in.c.defined()) return;
  EXPECT_FALSE(close(model_->unroll(in.x, at::zeros_like(in.k), -in.c, in.z).prediction, at_zero, 1e-4));
}

TEST_P(Contract, ThreadsShareAModel) {
  std::vector<Inputs> in;
  std::vector<SequenceOutput> alone, together(4);
  const auto run = [&](size_t i) {
    const at::NoGradGuard no_grad;
    return unroll(in[i]);
  };
  for (size_t i = 0; i < together.size(); ++i) {
    in.push_back(inputs(10 + i));
    alone.push_back(run(i));
  }
  std::vector<std::thread> threads;
  for (size_t i = 0; i < together.size(); ++i) threads.emplace_back([&, i] { together[i] = run(i); });
  for (auto& thread : threads) thread.join();
  for (size_t i = 0; i < together.size(); ++i) {
    EXPECT_TRUE(identical(together[i].prediction, alone[i].prediction));
    EXPECT_TRUE(identical(together[i].z, alone[i].z));
  }
}

TEST_P(Contract, WeightsFollowFromTheSeedAlone) {
  const at::Generator global = at::detail::getDefaultCPUGenerator();
  const Tensor state = global.get_state();
  const auto same = case_.make(1), other = case_.make(2);
  EXPECT_TRUE(identical(global.get_state(), state)) << "the global generator was used";
  for (const auto& parameter : model_->named_parameters()) {
    EXPECT_TRUE(identical(parameter.value(), same->named_parameters()[parameter.key()])) << parameter.key();
    const bool constant = parameter.value().std(false).item<double>() == 0.0;  // scales and shifts of normalisations
    EXPECT_EQ(at::equal(parameter.value(), other->named_parameters()[parameter.key()]), constant) << parameter.key();
  }
}

TEST_P(Contract, RunsUnderBfloat16Autocast) {
  const at::NoGradGuard no_grad;
  const Inputs in = inputs(8);
  const auto exact = unroll(in);
  at::autocast::set_autocast_enabled(at::kCPU, true);
  at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
  const auto rough = unroll(in);
  at::autocast::clear_cache();
  at::autocast::set_autocast_enabled(at::kCPU, false);
  EXPECT_TRUE(close(rough.prediction, exact.prediction, 0.1));
  EXPECT_FALSE(close(rough.prediction, exact.prediction, 1e-6));
}

INSTANTIATE_TEST_SUITE_P(Backbones, Contract,
                         ::testing::Values("UnetSmall", "UnetGruCondition", "UnetPatched", "UnetThreeBlocks", "MlpShallow",
                                           "MlpEncodedCondition", "MlpSquareAfter", "MlpSquareBefore", "TemporalUnet",
                                           "TemporalUnetOneLevel", "Attending", "AttendingInTwoLayers"),
                         [](const auto& info) { return info.param; });

// z' = tanh(w x + z), by the default unroll; counts its calls.
class Counter final : public CausalModel {
 public:
  Counter() : weight_(register_parameter("weight", at::full({1}, 0.5))) {}
  TokenOutput step(const Tensor& x, const Tensor&, const Tensor&, const Tensor& z) override {
    ++calls;
    const Tensor next = (weight_ * x + z).tanh();
    return {next * 2, next};
  }
  Tensor initial_latent(int64_t batch, const Tensor&) override { return at::zeros({batch, 2}); }
  Shape token_shape() const override { return {2}; }
  Shape latent_shape() const override { return {2}; }
  int64_t condition_dim() const override { return 0; }
  int calls = 0;

 private:
  Tensor weight_;
};

TEST(Recompute, RunsEachTokenAgainInTheBackwardPass) {
  const auto run = [](bool recompute) {
    Counter model;
    model.set_recompute(recompute);
    const auto out = model.unroll(seeded_normal({3, 4, 2}, 1), at::zeros({3, 4}, at::kLong), {}, at::zeros({3, 2}));
    EXPECT_EQ(model.calls, 4);
    torch::autograd::backward({out.prediction.square().sum()}, {});
    EXPECT_EQ(model.calls, recompute ? 8 : 4);
    return model.parameters()[0].grad();
  };
  EXPECT_TRUE(close(run(true), run(false), 1e-6));
}

}  // namespace
}  // namespace df
