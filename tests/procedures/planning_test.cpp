// SPDX-License-Identifier: MIT
// The `planning` section of an experiment, and the policy that a trained model gets from it.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "diffusion_forcing/config/experiment.hpp"
#include "diffusion_forcing/maze2d/diffuser_planner.hpp"
#include "diffusion_forcing/maze2d/forcing_planner.hpp"
#include "diffusion_forcing/maze2d/maze2d_data.hpp"
#include "diffusion_forcing/maze_world/maze_video.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/procedures/procedures.hpp"
#include "support/support.hpp"

namespace df {
namespace {

using test::error_of;

ExperimentConfig parse(const std::string& yaml, const std::vector<std::string>& overrides = {}) {
  return parse_experiment(yaml, "a.yaml", overrides);
}

std::string error_of_yaml(const std::string& yaml, const std::vector<std::string>& overrides = {}) {
  return error_of([&] { parse(yaml, overrides); });
}

ExperimentConfig shipped(const std::string& name, const std::vector<std::string>& overrides = {}) {
  return load_experiment(std::string(DF_SOURCE_DIR) + "/configs/" + name, overrides);
}

}  // namespace

TEST(Planning, IsAbsentWhereNobodyAsksForIt) {
  EXPECT_FALSE(parse("seed: 3").planning.has_value());
  EXPECT_EQ(dump_experiment(parse("seed: 3")).find("planning:"), std::string::npos);
}

TEST(Planning, ComesBackAsItWasWritten) {
  ExperimentConfig config;
  ForcingPlannerConfig forcing;
  forcing.horizon = 40;
  forcing.open_loop = 20;
  forcing.candidates = 3;
  forcing.warm_start = 7;
  forcing.execution = Execution::tracking;
  forcing.p = 2.5;
  forcing.d = 0.5;
  forcing.ahead = 6;
  forcing.keep = true;
  forcing.reward = {.distance = 0.25, .dense = 2, .sparse = 3, .stay = 4, .learned = 5, .action = 6, .dynamics = 7};
  forcing.choice = {.distance = 8, .stay = 9, .metric = PlanMetric::travel, .length = 2.5};
  forcing.guidance = {.form = GuidanceForm::resample,
                      .scale = 9,
                      .coefficient = GuidanceCoefficient::released,
                      .branches = 8,
                      .lookahead = 2,
                      .value = BranchValue::soft};
  config.planning = forcing;
  const std::string text = dump_experiment(config);
  EXPECT_EQ(dump_experiment(parse(text)), text);
  const auto read = parse(text).planning.value().get<ForcingPlannerConfig>();
  EXPECT_EQ(read.horizon, 40);
  EXPECT_EQ(read.warm_start, 7);
  EXPECT_EQ(read.execution, Execution::tracking);
  EXPECT_EQ(read.ahead, 6);
  EXPECT_TRUE(read.keep);
  EXPECT_EQ(read.reward.learned, 5);
  EXPECT_EQ(read.reward.dynamics, 7);
  EXPECT_EQ(read.choice.stay, 9);
  EXPECT_EQ(read.choice.metric, PlanMetric::travel);
  EXPECT_EQ(read.choice.length, 2.5);
  EXPECT_EQ(read.guidance.form, GuidanceForm::resample);
  EXPECT_EQ(read.guidance.value, BranchValue::soft);

  DiffuserPlannerConfig diffuser;
  diffuser.open_loop = 4;
  diffuser.execution = Execution::actions;
  diffuser.p = 3;
  config.planning = diffuser;
  const std::string other = dump_experiment(config);
  EXPECT_EQ(dump_experiment(parse(other)), other);
  const auto again = parse(other).planning.value().get<DiffuserPlannerConfig>();
  EXPECT_EQ(again.open_loop, 4);
  EXPECT_EQ(again.execution, Execution::actions);
}

TEST(Planning, OverridesMakeAndChangeIt) {
  const auto config = parse("seed: 3", {"planning.type=diffusion_forcing", "planning.guidance.scale=2.5", "planning.reward.stay=0.5"});
  const auto& forcing = config.planning->get<ForcingPlannerConfig>();
  EXPECT_EQ(forcing.guidance.scale, 2.5);
  EXPECT_EQ(forcing.reward.stay, 0.5);
  EXPECT_EQ(forcing.reward.distance, PlanRewardConfig{}.distance);
  EXPECT_EQ(forcing.open_loop, ForcingPlannerConfig{}.open_loop);
  const auto changed = parse("planning:\n  type: diffuser\n  p: 2\n", {"planning.open_loop=8"});
  EXPECT_EQ(changed.planning->get<DiffuserPlannerConfig>().open_loop, 8);
  EXPECT_EQ(changed.planning->get<DiffuserPlannerConfig>().p, 2);
  // Another type starts from its own defaults.
  const auto other = parse("planning:\n  type: diffusion_forcing\n  horizon: 40\n  p: 7\n", {"planning.type=diffuser"});
  EXPECT_EQ(other.planning->get<DiffuserPlannerConfig>().p, DiffuserPlannerConfig{}.p);
}

TEST(Planning, ErrorsListWhatIsKnown) {
  EXPECT_EQ(error_of_yaml("planning:\n  type: magic\n"),
            "a.yaml:2: planning.type: unknown type 'magic'; expected one of: diffusion_forcing, diffuser");
  EXPECT_EQ(error_of_yaml("planning:\n  horizon: 10\n"), "a.yaml:2: planning.type: missing; expected one of: diffusion_forcing, diffuser");
  EXPECT_EQ(error_of_yaml("seed: 1", {"planning.open_loop=5"}),
            "command line: planning.type: missing; expected one of: diffusion_forcing, diffuser");
  EXPECT_EQ(error_of_yaml("planning:\n  type: diffuser\n  horizon: 3\n"),
            "a.yaml:3: planning.horizon: unknown key; known keys: type, open_loop, execution, p, d");
  EXPECT_EQ(error_of_yaml("planning:\n  type: diffusion_forcing\n  guidance:\n    scales: 3\n"),
            "a.yaml:4: planning.guidance.scales: unknown key; did you mean 'scale'? known keys: form, scale, coefficient, branches, "
            "lookahead, value");
  EXPECT_EQ(
      error_of_yaml("planning:\n  type: diffusion_forcing\n  reward: {stays: 3}\n"),
      "a.yaml:3: planning.reward.stays: unknown key; did you mean 'stay'? known keys: distance, dense, approach, sparse, stay, learned, "
      "action, dynamics, metric, length");
  EXPECT_EQ(error_of_yaml("planning:\n  type: diffusion_forcing\n  execution: by_hand\n"),
            "a.yaml:3: planning.execution: unknown value 'by_hand'; expected one of: actions, tracking");
  EXPECT_EQ(error_of_yaml("planning:\n  type: diffusion_forcing\n  choice: {metric: crow}\n"),
            "a.yaml:3: planning.choice.metric: unknown value 'crow'; expected one of: straight, travel");
  EXPECT_EQ(error_of_yaml("planning: 3\n"), "a.yaml:1: planning: expected a section, got '3'");
}

TEST(Planning, WhatDoesNotFitIsToldBeforeTheTraining) {
  const test::TemporaryFolder folder;
  const auto error_with = [&](const std::string& override_text) {
    const auto config =
        shipped("maze2d_umaze.yaml", {"data.rows=8000", "data.held_out=0.2", "data.cache=" + folder.path().string(), "model.width=4",
                                      "model.latent=8", "planning.type=diffusion_forcing", "planning.guidance.scale=0", override_text});
    return error_of([&] { train(config, {.out = folder.path() / "run", .device = "cpu"}); });
  };
  EXPECT_EQ(error_with("planning.open_loop=0"), "planning.open_loop: expected at least 1, got 0");
  EXPECT_EQ(error_with("planning.horizon=15"), "planning.horizon: expected 0 or a multiple of data.frame_stack 10, got 15");
  EXPECT_EQ(error_with("planning.reward.learned=1"),
            "planning.reward.learned: expected 0 for a model without predicted rewards (data.reward: false), got 1");
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "run"));
}

TEST(Planning, ModelsGetTheirDatasUsualPlannerOrTheirOwn) {
  const test::TemporaryFolder folder;
  const auto trained_of = [&](const std::string& name, std::vector<std::string> more) {
    for (const auto& each : {"data.rows=8000", "data.held_out=0.2", "training.batch=2"}) more.emplace_back(each);
    more.push_back("data.cache=" + folder.path().string());
    TrainedModel trained;
    trained.config = shipped(name, more);
    trained.spec = make_dataset(trained.config.data, Split::train)->spec();
    trained.model = make_model(trained.config.model, trained.spec.token, 1);
    trained.diffusion = make_diffusion(trained.config.diffusion);
    trained.weights = "model.safetensors";
    return trained;
  };
  const std::vector<std::string> small = {"model.width=4", "model.latent=8"};
  const auto with = [](std::vector<std::string> base, const std::string& more) {
    base.push_back(more);
    return base;
  };
  const auto forcing = trained_of("maze2d_umaze.yaml", small);
  EXPECT_EQ(make_planner(forcing)->describe().rfind("diffusion forcing, pyramid S 50, ", 0), 0u);
  const auto diffuser = trained_of("diffuser_maze2d_umaze.yaml", {"data.horizon=32", "model.dim=8"});
  EXPECT_EQ(make_planner(diffuser)->describe(), "Diffuser, 32 frames, 64 steps");

  auto own = small;
  for (const char* each : {"planning.type=diffusion_forcing", "planning.guidance.scale=0"}) own.emplace_back(each);
  EXPECT_EQ(make_planner(trained_of("maze2d_umaze.yaml", own))->describe(), "diffusion forcing, pyramid S 50, no guidance");

  // Ways are those of the experiment's data.
  make_planner(trained_of("maze2d_umaze_paper.yaml", with(small, "planning.reward.metric=travel")));
  make_planner(trained_of("maze2d_umaze_paper.yaml", with(small, "planning.choice.metric=travel")));

  const auto error = [](const TrainedModel& trained) { return error_of([&] { make_planner(trained); }); };
  EXPECT_EQ(error(trained_of("maze2d_umaze.yaml", with(small, "planning.type=diffuser"))),
            "planner: expected a Diffuser model (one token of [H, 6], condition of 8 numbers), got tokens [60] and 0 numbers");
  EXPECT_EQ(error(trained_of("maze2d_umaze.yaml", with(own, "planning.reward.learned=1"))),
            "planning.reward.learned: expected 0 for a model without predicted rewards (data.reward: false), got 1");
  make_planner(trained_of("maze2d_umaze.yaml", with(with(own, "planning.reward.learned=1"), "data.reward=true")));
  EXPECT_EQ(error(trained_of("maze2d_umaze.yaml", with(small, "model.latent_init=zero"))),
            "model.safetensors: model.latent_init: expected encoded for a planner, whose plans start where the world is, got zero");
  TrainedModel other = forcing;  // a run's own statistics say what its tokens mean, whatever its configuration is changed to
  other.config.data.get<Maze2dDataConfig>().action_std = {2, 2};
  EXPECT_EQ(
      error(other),
      "model.safetensors: trained with the deviations [0.899722, 0.709316, 2.21286, 2.46817, 0.704347, 0.750625] of a frame; expected "
      "those of data.task and data.normalizer, [0.899722, 0.709316, 2.21286, 2.46817, 2, 2]");
  TrainedModel video = forcing;
  video.config.data = MazeVideoConfig{};
  EXPECT_EQ(error(video),
            "model.safetensors: expected a model of trajectories (data.type maze2d or maze2d_paths) for a planner, got other data");
}

}  // namespace df
