// SPDX-License-Identifier: MIT
// Diffuser's network: its size, its conditions, and what its configuration refuses. The contract of every backbone is in contract_test.cpp.
#include "diffusion_forcing/models/temporal_unet.hpp"
#include "diffusion_forcing/config/roles.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/models/causal_model.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "core/autocast.hpp"
#include "support/support.hpp"

namespace df {
namespace {

using test::close;
using test::identical;

TokenSpec trajectory(int64_t frames) { return {{frames, 6}, 8, {}, frames}; }

TemporalUnetConfig small() {
  TemporalUnetConfig config;
  config.dim = 16;
  config.multipliers = {1, 2};
  return config;
}

TEST(TemporalUnet, IsOfTheAuthorsSize) {
  const auto model = make_model(TemporalUnetConfig{}, trajectory(128), 0);
  EXPECT_EQ(model->parameter_count(), 3682118);
  const auto p = model->named_parameters();
  EXPECT_EQ(p["time_mlp.1.weight"].sizes().vec(), (Shape{128, 32}));
  EXPECT_EQ(p["downs.0.0.blocks.0.block.0.weight"].sizes().vec(), (Shape{32, 6, 5}));
  EXPECT_EQ(p["downs.1.2.conv.weight"].sizes().vec(), (Shape{128, 128, 3}));
  EXPECT_EQ(p["ups.0.0.blocks.0.block.0.weight"].sizes().vec(), (Shape{128, 512, 5}));
  EXPECT_EQ(p["ups.1.0.residual_conv.weight"].sizes().vec(), (Shape{32, 256, 1}));
  EXPECT_EQ(p["ups.1.2.conv.weight"].sizes().vec(), (Shape{32, 32, 4}));
  EXPECT_FALSE(p.contains("downs.2.2.conv.weight"));
  EXPECT_EQ(model->latent_shape(), (Shape{1}));
}

class Conditions : public ::testing::Test {
 protected:
  static constexpr int64_t N = 3, H = 16;
  const std::shared_ptr<CausalModel> model_ = make_model(small(), trajectory(H), 1);
  const Tensor x_ = seeded_normal({N, H, 6}, 1), c_ = seeded_normal({N, 8}, 2), k_ = at::tensor({1, 30, 64}), z_ = at::zeros({N, 1});
  Tensor predict(const Tensor& x) const { return model_->step(x, k_, c_, z_).prediction; }
};

TEST_F(Conditions, StandInThePrediction) {
  const at::NoGradGuard no_grad;
  const Tensor prediction = predict(x_);
  EXPECT_TRUE(identical(prediction.select(1, 0).slice(1, 0, 4), c_.slice(1, 0, 4)));
  EXPECT_TRUE(identical(prediction.select(1, H - 1).slice(1, 0, 4), c_.slice(1, 4, 8)));
}

TEST_F(Conditions, StandInTheInput) {
  const at::NoGradGuard no_grad;
  Tensor other = x_.clone();
  other.select(1, 0).slice(1, 0, 4) += 5;
  other.select(1, H - 1).slice(1, 0, 4).zero_();
  EXPECT_TRUE(identical(predict(other), predict(x_)));
  EXPECT_TRUE(identical(x_, seeded_normal({N, H, 6}, 1))) << "the caller's tensor was written to";
}

TEST_F(Conditions, LeaveActionsAndOtherFramesFree) {
  Tensor x = x_.clone().requires_grad_(true);
  predict(x).square().sum().backward();
  const Tensor gradient = x.grad().abs().amin(0);  // [H, 6]
  for (int64_t frame = 0; frame < H; ++frame)
    for (int64_t entry = 0; entry < 6; ++entry) {
      const bool fixed = entry < 4 && (frame == 0 || frame == H - 1);
      EXPECT_EQ(gradient[frame][entry].item<double>() == 0.0, fixed) << frame << ", " << entry;
    }
}

// Autocast computes in bfloat16, but what is given is given: a plan must start where the ball is.
TEST_F(Conditions, StandExactlyUnderBfloat16Autocast) {
  const at::NoGradGuard no_grad;
  Tensor rough;
  {
    const Autocast precision(at::kCPU, true, true);
    rough = predict(x_);
  }
  EXPECT_TRUE(identical(rough.select(1, 0).slice(1, 0, 4), c_.slice(1, 0, 4)));
  EXPECT_TRUE(identical(rough.select(1, H - 1).slice(1, 0, 4), c_.slice(1, 4, 8)));
  EXPECT_FALSE(close(rough, predict(x_), 1e-6));
}

// The dummy latent goes through as it came, and nothing depends on it.
TEST_F(Conditions, TheLatentIsADummy) {
  const at::NoGradGuard no_grad;
  const Tensor z = at::full({N, 1}, 7.0);
  const auto out = model_->step(x_, k_, c_, z);
  EXPECT_TRUE(identical(out.z, z));
  EXPECT_TRUE(identical(out.prediction, predict(x_)));
  EXPECT_TRUE(identical(model_->initial_latent(N, {}), at::zeros({N, 1})));
}

// Without a latent's gradient, as in training.
TEST_F(Conditions, TrainWithRecomputedTokens) {
  const auto gradient = [&](bool recompute) {
    model_->set_recompute(recompute);
    model_->zero_grad();
    model_->unroll(x_.unsqueeze(1), k_.unsqueeze(1), c_.unsqueeze(1), z_).prediction.square().sum().backward();
    return model_->named_parameters()["mid_block1.blocks.0.block.0.weight"].grad().clone();
  };
  EXPECT_TRUE(close(gradient(true), gradient(false), 1e-5));
}

TEST(TemporalUnet, ErrorsNameTheKey) {
  const auto says = [](const TokenSpec& spec, const std::function<void(TemporalUnetConfig&)>& change, const std::string& message) {
    TemporalUnetConfig config;
    change(config);
    EXPECT_EQ(test::error_of([&] { make_model(config, spec, 0); }), message);
  };
  const auto keep = [](auto&) {};
  says(trajectory(130), keep,
       "model.multipliers: expected at least 2 frames in a multiple of 4 (2^(levels - 1)), got tokens of 130 frames");
  says({{60}, 8, {}, 1}, keep, "model.type: temporal_unet needs tokens of frames [H, D], got tokens [60]");
  says({{16, 6}, 0, {}, 16}, keep,
       "model.observation: expected half of the data set's condition of 0 entries (first and last observation), got 4");
  says(
      trajectory(16), [](auto& c) { c.observation = 7; }, "model.observation: expected 1 to 6, the entries of a frame, got 7");
  says(
      trajectory(16), [](auto& c) { c.dim = 12; }, "model.dim: expected a multiple of 8 (the groups of its normalisations), got 12");
  says(
      trajectory(16), [](auto& c) { c.kernel = 4; }, "model.kernel: expected an odd size, got 4");
  says(
      trajectory(16), [](auto& c) { c.multipliers.clear(); }, "model.multipliers: expected at least one level, got none");
  says(
      trajectory(16),
      [](auto& c) {
        c.multipliers = {1, 0};
      },
      "model.multipliers: expected numbers of at least 1, got 0");
}

}  // namespace
}  // namespace df
