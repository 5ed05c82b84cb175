// SPDX-License-Identifier: MIT
// What the keys of a model's configuration do, and what they refuse.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>

#include "diffusion_forcing/config/roles.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/models/latent_init.hpp"
#include "diffusion_forcing/models/mlp_gru.hpp"
#include "diffusion_forcing/models/unet_gru.hpp"
#include "models/layers.hpp"
#include "support/support.hpp"

namespace df {
namespace {

using test::close;

const TokenSpec image{{3, 16, 16}, 0, {}, 1};
const TokenSpec vector{{6}, 0, {}, 1};

UnetGruConfig unet(const std::function<void(UnetGruConfig&)>& change = {}) {
  UnetGruConfig config;
  config.width = 8;
  config.latent = 4;
  config.multipliers = {1, 2};
  config.attention = {Attention::linear, Attention::full};
  if (change) change(config);
  return config;
}

void expect_error(const ModelConfig& config, const TokenSpec& spec, const std::string& message) {
  const std::string error = test::error_of([&] { make_model(config, spec, 0); });
  EXPECT_NE(error.find(message), std::string::npos) << error;
}

TEST(ModelConfig, UnetErrorsNameTheKey) {
  const auto expect = [](const std::function<void(UnetGruConfig&)>& change, const std::string& message) {
    expect_error(unet(change), image, message);
  };
  expect([](auto& c) { c.attention.push_back(Attention::none); }, "model.attention: expected 2 entries (one per multiplier), got 3");
  expect([](auto& c) { c.gru_layers = 2; }, "model.gru_layers: expected 0 or 1, got 2");
  expect([](auto& c) { c.stem_kernel = 4; }, "model.stem_kernel: expected an odd size, got 4");
  expect([](auto& c) { c.width = 12; }, "model.width: expected a multiple of 8");
  expect([](auto& c) { c.blocks = 0; }, "model.blocks: expected at least 1, got 0");
  expect([](auto& c) { c.multipliers.clear(); }, "model.multipliers: expected at least one level");
  expect([](auto& c) { c.patch = 16; }, "tokens of 16 x 16 pixels must be divisible by 32");
  expect([](auto& c) { c.latent_init = LatentInit::encoded; }, "model.latent_init: encoded needs a data set");
  expect_error(unet(), vector, "unet_gru needs image tokens [C, H, W], got tokens [6]");
}

TEST(ModelConfig, MlpErrorsNameTheKey) {
  MlpGruConfig config;
  config.latent = 10;
  config.gru_layers = 3;
  expect_error(config, vector, "model.latent: expected a multiple of gru_layers (3), got 10");
  expect_error(MlpGruConfig{}, image, "mlp_gru needs vector tokens [D], got tokens [3, 16, 16]");
  config.gru_layers = 0;
  expect_error(config, vector, "model.gru_layers: expected at least 1, got 0");
  config = {};
  config.width = 5;
  expect_error(config, vector, "model.width: expected an even number");
}

TEST(ModelConfig, MisshapenInputsAreNamed) {
  const auto model = make_model(unet(), image, 0);
  const auto x = at::zeros({2, 3, 16, 16}), k = at::zeros({2}, at::kLong), z = at::zeros({2, 4, 16, 16});
  EXPECT_NE(test::error_of([&] { model->step(x.slice(1, 0, 2), k, {}, z); }).find("x: expected shape"), std::string::npos);
  EXPECT_NE(test::error_of([&] { model->step(x, k, {}, z.slice(2, 0, 8)); }).find("z: expected shape"), std::string::npos);
  const auto conditioned = make_model(unet(), {{3, 16, 16}, 2, {}, 1}, 0);
  EXPECT_NE(test::error_of([&] { conditioned->step(x, k, {}, z); }).find("c: expected shape [2, 2]"), std::string::npos);
}

// A patched network is the plain network on space-to-depth tokens.
TEST(ModelConfig, PatchIsAReshapeOfTheToken) {
  const at::NoGradGuard no_grad;
  const auto patched = make_model(unet([](auto& c) { c.patch = 2; }), image, 3);
  const auto plain = make_model(unet(), {{12, 8, 8}, 0, {}, 1}, 3);
  EXPECT_EQ(patched->latent_shape(), (Shape{4, 8, 8}));
  const auto x = seeded_normal({2, 3, 16, 16}, 1), z = seeded_normal({2, 4, 8, 8}, 2);
  const auto k = at::tensor({10, 900});
  const auto a = patched->step(x, k, {}, z), b = plain->step(at::pixel_unshuffle(x, 2), k, {}, z);
  EXPECT_TRUE(close(a.prediction, at::pixel_shuffle(b.prediction, 2), 1e-6));
  EXPECT_TRUE(close(a.z, b.z, 1e-6));
}

// Blocks come first, then the attention's number, then the resampling's.
TEST(ModelConfig, ChildrenAreNumberedAlikeForAnyNumberOfBlocks) {
  for (const int64_t blocks : {1, 2, 3}) {
    const auto parameters = make_model(unet([&](auto& c) { c.blocks = blocks; }), image, 0)->named_parameters();
    for (const std::string room : {"model.downs.0.", "model.ups.0."}) {
      EXPECT_TRUE(parameters.contains(room + std::to_string(blocks - 1) + ".block1.proj.weight")) << room << blocks;
      EXPECT_TRUE(parameters.contains(room + std::to_string(blocks) + ".to_qkv.weight")) << room << blocks;
      EXPECT_TRUE(parameters.contains(room + std::to_string(blocks + 1) + ".1.weight")) << room << blocks;
    }
  }
  const auto bare = make_model(unet([](auto& c) { c.attention = {Attention::none, Attention::none}; }), image, 0)->named_parameters();
  EXPECT_FALSE(bare.contains("model.downs.0.2.to_qkv.weight"));
  EXPECT_TRUE(bare.contains("model.downs.0.3.1.weight"));
}

TEST(ModelConfig, InitialLatents) {
  const at::NoGradGuard no_grad;
  const auto learned = make_model(unet(), image, 0);
  EXPECT_TRUE(test::identical(learned->initial_latent(2, {})[1], learned->named_parameters()["init_z"]));
  const auto zero = make_model(unet([](auto& c) { c.latent_init = LatentInit::zero; }), image, 0);
  EXPECT_TRUE(test::identical(zero->initial_latent(2, {}), at::zeros({2, 4, 16, 16})));
  EXPECT_FALSE(zero->named_parameters().contains("init_z"));
  MlpGruConfig config;
  config.latent_init = LatentInit::encoded;
  const auto encoded = make_model(config, {{6}, 0, {4}, 1}, 0);
  const auto p = encoded->named_parameters();
  Tensor h = seeded_normal({3, 4}, 1);
  const Tensor z = encoded->initial_latent(3, h);
  for (const std::string layer : {"0", "2", "4"}) {
    h = at::linear(h, p["init_encoder." + layer + ".weight"], p["init_encoder." + layer + ".bias"]);
    if (layer != "4") h = at::where(h > 0, h, at::expm1(h));
  }
  EXPECT_TRUE(close(z, h, 1e-6));
  EXPECT_NE(test::error_of([&] { encoded->initial_latent(3, {}); }).find("init: expected shape [3, 4]"), std::string::npos);
}

// PyTorch's defaults: U(-b, b) with b = 1 / sqrt(inputs of a unit).
TEST(ModelConfig, InitialWeightsFillTheirRange) {
  const auto p = make_model(unet([](auto& c) { c.gru_layers = 1; }), image, 0)->named_parameters();
  const auto expect_range = [&](const std::string& name, double bound) {
    const double most = p[name].abs().max().item<double>();
    EXPECT_LE(most, bound) << name;
    EXPECT_GT(most, 0.85 * bound) << name;
    EXPECT_NEAR(p[name].mean().item<double>() / bound, 0.0, 0.25) << name;
  };
  expect_range("model.init_conv.weight", 1.0 / std::sqrt(7.0 * 49));
  expect_range("model.time_mlp.1.weight", 1.0 / std::sqrt(8.0));
  expect_range("model.time_mlp.1.bias", 1.0 / std::sqrt(8.0));
  expect_range("model.downs.0.3.1.weight", 1.0 / std::sqrt(32.0));
  expect_range("model.gru.h2h.weight", 1.0 / std::sqrt(4.0));
  EXPECT_TRUE(p["model.mid_block1.block1.norm.weight"].eq(1).all().item<bool>());
  EXPECT_NEAR(p["init_z"].std().item<double>(), 1.0, 0.1);
}

// Noise level k is the authors' time index k - 1, so a clean token embeds -1.
TEST(ModelConfig, LevelsEmbedTheirTimeIndex) {
  const layers::SinusoidalEmbedding embedding(8);
  const auto out = embedding(at::tensor({0, 1, 501}));
  for (int64_t row = 0; row < 3; ++row)
    for (int64_t i = 0; i < 4; ++i) {
      const double angle = std::vector<double>{-1, 0, 500}[static_cast<size_t>(row)] * std::pow(1e-4, static_cast<double>(i) / 3.0);
      EXPECT_NEAR(out[row][i].item<double>(), std::sin(angle), 5e-5);
      EXPECT_NEAR(out[row][i + 4].item<double>(), std::cos(angle), 5e-5);
    }
}

}  // namespace
}  // namespace df
