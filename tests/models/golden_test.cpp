// SPDX-License-Identifier: MIT
// The backbones are the authors' networks: names, shapes, sizes and numbers.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <string>

#include "diffusion_forcing/config/roles.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/models/latent_init.hpp"
#include "diffusion_forcing/models/mlp_gru.hpp"
#include "diffusion_forcing/models/unet_gru.hpp"
#include "support/golden.hpp"
#include "support/support.hpp"

namespace df {
namespace {

using test::close;

TEST(Golden, OneCallEqualsTheAuthors) {
  const at::NoGradGuard no_grad;
  for (const auto& path : test::golden_models()) {
    const auto golden = test::load_golden_model(path);  // compares names and shapes
    const auto out = golden.model->step(golden.at("call/x"), golden.level("call/t"), golden.optional("call/c"), golden.at("call/z"));
    EXPECT_TRUE(close(out.prediction, golden.at("call/model_out"), 1e-5)) << golden.name;
    EXPECT_TRUE(close(out.z, golden.at("call/pred_z"), 1e-5)) << golden.name;
  }
}

// z after each token of the authors' training sequences.
TEST(Golden, UnrolledLatentsEqualTheAuthors) {
  const at::NoGradGuard no_grad;
  for (const auto& path : test::golden_models()) {
    const auto golden = test::load_golden_model(path);
    const auto schedule = make_noise_schedule(golden.diffusion.schedule, golden.diffusion.levels);
    const auto eps = golden.at("train/eps").clamp(-golden.diffusion.clip_noise, golden.diffusion.clip_noise);
    const auto x = add_noise(schedule, golden.at("train/x0"), golden.level("train/t"), eps);
    const auto z = golden.model->initial_latent(x.size(0), {});
    const auto out = golden.model->unroll(x, golden.level("train/t"), golden.optional("train/c"), z);
    EXPECT_TRUE(close(out.z, golden.at("train/z"), 1e-5)) << golden.name;
  }
}

// Sizes of the authors' released networks.
TEST(Golden, ParameterCounts) {
  UnetGruConfig dmlab;
  const TokenSpec video{.token_shape = {12, 64, 64}, .condition_dim = 0, .init_shape = {}, .frame_stack = 4};
  EXPECT_NEAR(static_cast<double>(make_model(dmlab, video, 0)->parameter_count()) / 1e6, 20.42, 0.005);
  UnetGruConfig minecraft;
  minecraft.width = 64;
  minecraft.latent = 32;
  minecraft.gru_layers = 1;
  EXPECT_NEAR(static_cast<double>(make_model(minecraft, {{24, 128, 128}, 0, {}, 8}, 0)->parameter_count()) / 1e6, 36.48, 0.005);
  MlpGruConfig maze;
  maze.latent_init = LatentInit::encoded;
  EXPECT_NEAR(static_cast<double>(make_model(maze, {{60}, 0, {4}, 10}, 0)->parameter_count()) / 1e6, 11.62, 0.005);
  maze.width = 16;
  EXPECT_NEAR(static_cast<double>(make_model(maze, {{60}, 0, {4}, 10}, 0)->parameter_count()) / 1e6, 3.24, 0.005);
}

}  // namespace
}  // namespace df
