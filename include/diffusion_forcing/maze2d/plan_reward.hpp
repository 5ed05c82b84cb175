// SPDX-License-Identifier: MIT
// What a plan is wanted for: rewards of planned frames (x, y, vx, vy, ax, ay and, where the data have it, the model's own estimate of the
// reward) for goals (x, y), in raw units.
#pragma once

#include <functional>
#include <string>

#include "diffusion_forcing/core/enum_names.hpp"
#include "diffusion_forcing/core/tensor.hpp"
#include "diffusion_forcing/planning/guided_planner.hpp"

namespace df {

// Positions [B, F, 2] -> metres to the goal of each row [B, F], as TravelMap::look_up() gives them.
using TravelDistance = std::function<Tensor(const Tensor& positions)>;

enum class PlanMetric {
  straight,  // |p - goal|
  travel,    // along ways that the data took
};
template <>
struct EnumNames<PlanMetric> {
  static constexpr std::pair<std::string_view, PlanMetric> table[] = {{"straight", PlanMetric::straight}, {"travel", PlanMetric::travel}};
};

// A weighted sum over frames, divided by none: longer plans have larger rewards. Terms with weight 0 cost nothing.
struct PlanRewardConfig {
  double distance = 1.0;                     // - distance to the goal: pulls every frame (Chen et al. 2024's released code)
  double dense = 0.0;                        // exp(- distance / length); straight and with length 1, D4RL's dense reward
  double approach = 0.0;                     // - length log(1 + distance / length): pulls near frames as `distance` does and far ones less
  double sparse = 0.0;                       // 1 within the goal's radius, D4RL's sparse reward; without a gradient
  double stay = 0.0;                         // - |v|^2 exp(- (|p - goal| / radius)^2): rest where it pays; guides speeds alone
  double learned = 0.0;                      // the reward that the model itself predicts in each frame; needs data with reward: true
  double action = 0.0;                       // - (|a| - 1)^2 of actions beyond their bound
  double dynamics = 0.0;                     // - |(p' - p) / dt - v'|^2 of successive frames: a plan through a wall leaps
  PlanMetric metric = PlanMetric::straight;  // of `distance`, `dense` and `approach`; the other terms measure straight
  double length = 1.0;                       // metres over which `dense` and the pull of `approach` fade
  template <class V>
  void visit(V&& v) {
    v("distance", distance, "weight of - distance to the goal");
    v("dense", dense, "weight of exp(- distance / length), D4RL's dense reward");
    v("approach", approach, "weight of - length log(1 + distance / length)");
    v("sparse", sparse, "weight of being within the goal's radius; no gradient");
    v("stay", stay, "weight of - speed^2 near the goal");
    v("learned", learned, "weight of the reward that the model predicts");
    v("action", action, "weight of - (|a| - 1)^2 of actions beyond their bound");
    v("dynamics", dynamics, "weight of - |(p' - p) / dt - v'|^2, the leaps of a plan");
    v("metric", metric, "of the first three: straight, or travel, along ways that the data took");
    v("length", length, "metres over which `dense` and the pull of `approach` fade");
  }
};
// Throw df::Error naming "<section>.<key>"; the metric is at fault where it is travel and there is no such distance.
void validate(const PlanRewardConfig& config, const std::string& section = "planning.reward");
// The reward that a configuration describes.
PlanReward make_plan_reward(const PlanRewardConfig& config, const std::string& section = "planning.reward", TravelDistance travel = {});

}  // namespace df
