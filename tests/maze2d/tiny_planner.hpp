// SPDX-License-Identifier: MIT
// A planner's model of a few ten thousand random weights, and situations to put it into.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <utility>

#include "diffusion_forcing/config/roles.hpp"
#include "diffusion_forcing/maze2d/forcing_planner.hpp"
#include "diffusion_forcing/maze2d/maze2d_domain.hpp"
#include "diffusion_forcing/maze2d/travel_map.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/models/latent_init.hpp"
#include "diffusion_forcing/models/mlp_gru.hpp"

namespace df::test {

// Tokens of 5 frames. The network gives v: predictions are near sqrt(alpha_bar) x, so that a gradient gets through whatever the weights
// are.
struct TinyPlanner {
  explicit TinyPlanner(int64_t frame_size = 6) {
    spec.token = {{5 * frame_size}, 0, {4}, 5};
    spec.tokens = 6;
    spec.mean = 0;
    spec.std = 1;
    spec.frame_mean = {2.0, 2.5, 0.1, 0.0, 0.0, 0.0, 0.1};
    spec.frame_std = {0.9, 0.7, 2.2, 2.4, 0.7, 0.75, 0.3};
    spec.frame_mean.resize(static_cast<size_t>(frame_size));
    spec.frame_std.resize(static_cast<size_t>(frame_size));
    MlpGruConfig network;
    network.width = 4;
    network.latent = 8;
    network.mlp_layers = 2;
    network.latent_init = LatentInit::encoded;
    model = make_model(network, spec.token, 1);
    model->eval();
    DiffusionConfig levels;
    levels.schedule = ScheduleKind::cosine;
    levels.levels = 20;
    levels.output = Space::v;
    diffusion = make_diffusion(levels);
    sampling.schedule = "pyramid";
    sampling.steps = 5;
    sampling.policy.stabilization = 0;
  }
  std::unique_ptr<Policy> make(const ForcingPlannerConfig& config, PlanReward reward = {}, PlanObserver observer = {}) const {
    const auto domain = travel ? std::make_shared<Maze2dDomain>(travel) : nullptr;
    return make_forcing_planner(config, {*model, diffusion, spec, sampling, domain}, std::move(reward), std::move(observer));
  }
  DataSpec spec;
  std::shared_ptr<CausalModel> model;
  Diffusion diffusion;
  RolloutConfig sampling;
  std::shared_ptr<const TravelMap> travel;
};

// Plans of 30 frames.
inline ForcingPlannerConfig planner_config(double scale = 0) {
  ForcingPlannerConfig config;
  config.horizon = 30;
  config.guidance.scale = scale;
  return config;
}

inline Trajectory first_plan(Policy& policy, const Situation& s, uint64_t seed = 7, int64_t first_world = 0) {
  policy.start(s.now.state.size(0), seed, first_world);
  return policy.act(s).plan;
}

// Positions [N, 2] every 5 cm from (0, 0) to (3, 3), but none in the wall 1 < x < 2, y < 2.
inline Tensor around_a_wall() {
  const Tensor line = at::arange(61, at::kDouble) * 0.05;
  const Tensor x = line.view({1, 61}).expand({61, 61}).reshape({-1}), y = line.view({61, 1}).expand({61, 61}).reshape({-1});
  return at::stack({x, y}, 1).index_select(0, ((x > 1) & (x < 2) & (y < 2)).logical_not().nonzero().select(1, 0));
}

// World b is at (1 + b / 10, 2), at rest.
inline Situation situation(int64_t worlds, int64_t steps_left = 100) {
  Situation s;
  s.now.state = at::zeros({worlds, 4}, at::kDouble);
  s.now.state.select(1, 0).copy_(at::arange(worlds, at::kDouble) / 10 + 1);
  s.now.state.select(1, 1).fill_(2);
  s.now.goal = at::tensor({3.0, 1.0}, at::kDouble).view({1, 2}).repeat({worlds, 1});
  s.steps_left = steps_left;
  return s;
}

}  // namespace df::test
