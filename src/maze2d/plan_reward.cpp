// SPDX-License-Identifier: MIT
#include "diffusion_forcing/maze2d/plan_reward.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "core/require.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/shape.hpp"
#include "diffusion_forcing/maze2d/maze2d.hpp"

namespace df {

namespace {

// |v| over the last dimension with a gradient of 0 at 0, where the norm's own would be NaN.
Tensor length(const Tensor& v) { return (v.square().sum(-1) + 1e-12).sqrt(); }

}  // namespace

void validate(const PlanRewardConfig& config, const std::string& section) {
  const Require require(section);
  require.finite("distance", config.distance);
  require.finite("dense", config.dense);
  require.finite("approach", config.approach);
  require.finite("sparse", config.sparse);
  require.finite("stay", config.stay);
  require.finite("learned", config.learned);
  require.finite("action", config.action);
  require.finite("dynamics", config.dynamics);
  require(std::isfinite(config.length) && config.length > 0, "length", "metres above 0", config.length);
}

PlanReward make_plan_reward(const PlanRewardConfig& config, const std::string& section, TravelDistance travel) {
  validate(config, section);
  if (config.metric == PlanMetric::travel && !travel)
    throw Error(section + ".metric: expected straight where there is no map of the ways that the data took, got travel");
  return [config, section, travel = std::move(travel)](const Tensor& frames, const Tensor& goals) {
    check_shape(frames, "planned frames", {goals.size(0), -1, -1});
    const Tensor distance = length(frames.narrow(2, 0, 2) - goals.unsqueeze(1));  // [B, F]
    const bool far = config.distance != 0 || config.dense != 0 || config.approach != 0;
    const Tensor way = far && config.metric == PlanMetric::travel ? travel(frames.narrow(2, 0, 2)) : distance;
    Tensor total = at::zeros({frames.size(0)}, frames.options());
    const auto add = [&](double weight, const Tensor& term) { total = total + weight * term.sum(1); };
    if (config.distance != 0) add(-config.distance, way);
    if (config.dense != 0) add(config.dense, (-way / config.length).exp());
    if (config.approach != 0) add(-config.approach * config.length, (way / config.length).log1p());
    if (config.sparse != 0) add(config.sparse, (distance <= maze2d_goal_radius).to(frames.scalar_type()));
    if (config.stay != 0)  // were the place to have a gradient, fast frames would be pushed away from the goal
      add(-config.stay, frames.narrow(2, 2, 2).square().sum(2) * (-(distance.detach() / maze2d_goal_radius).square()).exp());
    if (config.learned != 0) {
      if (frames.size(2) < 7)
        throw Error(fmt::format("{}.learned: expected 0 for a model without predicted rewards (data.reward: false), got {}", section,
                                config.learned));
      add(config.learned, frames.select(2, 6));
    }
    if (config.action != 0) add(-config.action, (frames.narrow(2, 4, 2).abs() - 1).clamp_min(0).square().sum(2));
    if (config.dynamics != 0 && frames.size(1) > 1) {
      const int64_t F = frames.size(1);
      const Tensor leap =
          (frames.narrow(1, 1, F - 1).narrow(2, 0, 2) - frames.narrow(1, 0, F - 1).narrow(2, 0, 2)) / maze2d_seconds_a_step -
          frames.narrow(1, 1, F - 1).narrow(2, 2, 2);
      add(-config.dynamics, leap.square().sum(2));
    }
    return total;
  };
}

}  // namespace df
