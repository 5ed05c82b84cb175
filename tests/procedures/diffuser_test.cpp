// SPDX-License-Identifier: MIT
// Diffuser as an ordinary experiment: its configurations train, and a sample starts and ends where it is told to.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "diffusion_forcing/config/experiment.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/data/loader.hpp"
#include "diffusion_forcing/maze2d/maze2d_paths.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/models/temporal_unet.hpp"
#include "diffusion_forcing/procedures/parts.hpp"
#include "diffusion_forcing/procedures/procedures.hpp"
#include "diffusion_forcing/sampling/rollout.hpp"
#include "support/support.hpp"

namespace df {
namespace {

class Diffuser : public ::testing::Test {
 protected:
  // The umaze experiment with a small network, short trajectories and few rows.
  ExperimentConfig config(std::vector<std::string> more = {}) const {
    std::vector<std::string> overrides = {"data.rows=6000",
                                          "data.held_out=0.2",
                                          "data.horizon=32",
                                          "data.cache=" + folder_.path().string(),
                                          "model.dim=16",
                                          "model.multipliers=[1, 2]",
                                          "training.batch=16",
                                          "training.steps=100",
                                          "training.validate_every=0",
                                          "training.learning_rate=0.003",
                                          "diffusion.levels=16",
                                          "sampling.steps=16"};
    overrides.insert(overrides.end(), more.begin(), more.end());
    return load_experiment(std::string(DF_SOURCE_DIR) + "/configs/diffuser_maze2d_umaze.yaml", overrides);
  }
  std::string error(const std::string& override_text) const {
    return test::error_of([&] { make_parts(config({override_text})); });
  }
  test::TemporaryFolder folder_;
};

TEST_F(Diffuser, AHundredStepsLowerTheLossAndPlansKeepTheirEnds) {
  const ExperimentConfig experiment = config();
  const Parts parts = make_parts(experiment);
  const auto& settings = experiment.training.trainer;
  Loader loader(parts.train, {settings.batch, settings.loader_workers}, 1, 0);
  Trainer trainer(settings, named_tensors(*parts.model), diffusion_objective(parts, experiment.training), loader, 1, at::kCPU);
  double first = 0, last = 0;
  for (int64_t i = 0; i < settings.steps; ++i) {
    const double loss = trainer.step();
    if (i < 10) first += loss / 10;
    if (i >= settings.steps - 10) last += loss / 10;
  }
  EXPECT_LT(last, 0.7 * first) << first << " -> " << last;

  double constant = 0;  // loss of the best constant, 0 nearly: entries reach from -1 to 1
  for (int64_t i = 0; i < 100; ++i) constant += parts.train->get(i * parts.train->size() / 100).x.square().mean().item<double>() / 100;
  EXPECT_LT(last, 0.9 * constant) << constant << " -> " << last;

  const Batch windows = stack({parts.train->get(5), parts.train->get(50)});
  RolloutInput input;
  input.tokens = 1;
  input.z = parts.model->initial_latent(2, {});
  input.c = windows.c;
  int64_t tokens = 0;
  rollout(*parts.model, parts.diffusion, experiment.sampling, input, [&](int64_t, const Tensor& x) {
    ++tokens;
    EXPECT_EQ(x.sizes().vec(), (Shape{2, 32, 6}));
    EXPECT_TRUE(test::close(x.select(1, 0).slice(1, 0, 4), windows.x.select(1, 0).select(1, 0).slice(1, 0, 4), 1e-6));
    EXPECT_TRUE(test::close(x.select(1, 31).slice(1, 0, 4), windows.x.select(1, 0).select(1, 31).slice(1, 0, 4), 1e-6));
    EXPECT_LE(x.abs().max().item<double>(), 1.0);
  });
  EXPECT_EQ(tokens, 1);
}

TEST_F(Diffuser, WhatDoesNotFitIsNamed) {
  EXPECT_EQ(error("data.horizon=33"),
            "model.multipliers: expected at least 2 frames in a multiple of 2 (2^(levels - 1)), got tokens of 33 frames");
  EXPECT_EQ(error("data.horizon=6001").rfind("data.horizon: expected fewer than the ", 0), 0u) << error("data.horizon=6001");
  EXPECT_EQ(error("data.task=maze2d-tiny-v1").rfind("data.task: unknown task 'maze2d-tiny-v1'; expected one of: ", 0), 0u);
  EXPECT_EQ(error("sampling.clip_x0=-1"), "sampling.clip_x0: expected a number of at least 0, got -1");
  EXPECT_EQ(error("model.type=mlp_gru"), "model.type: mlp_gru needs vector tokens [D], got tokens [32, 6]");
}

// The three experiments of the paper, by its table of horizons and levels; steps of the sampler are all of the levels.
TEST(DiffuserConfigs, AreThePapers) {
  const struct {
    const char* maze;
    int64_t horizon, levels;
  } papers[] = {{"umaze", 128, 64}, {"medium", 256, 256}, {"large", 384, 256}};
  for (const auto& paper : papers) {
    const ExperimentConfig config = load_experiment(std::string(DF_SOURCE_DIR) + "/configs/diffuser_maze2d_" + paper.maze + ".yaml");
    validate(config);
    const auto& data = config.data.get<Maze2dPathsConfig>();
    EXPECT_EQ(data.task, std::string("maze2d-") + paper.maze + "-v1");
    EXPECT_EQ(data.horizon, paper.horizon);
    EXPECT_EQ(config.diffusion.levels, paper.levels);
    EXPECT_EQ(config.sampling.steps, paper.levels);
    EXPECT_EQ(config.sampling.sampler.clip_x0, 1.0);
    EXPECT_TRUE(config.model.get_if<TemporalUnetConfig>());
  }
}

}  // namespace
}  // namespace df
