// SPDX-License-Identifier: MIT
#include "diffusion_forcing/maze2d/forcing_planner.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <memory>
#include <utility>

#include "core/require.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/maze2d/maze2d_domain.hpp"
#include "diffusion_forcing/maze2d/travel_map.hpp"
#include "maze2d/tracking.hpp"

namespace df {

namespace {

constexpr FrameSizes frame_sizes{.observation = 4, .action = 2};

// Distances to the goals of the present plan, along the ways that the data took.
class GoalMaps {
 public:
  explicit GoalMaps(std::shared_ptr<const TravelMap> ways) : ways_(std::move(ways)) {}

  // True where the maps lie elsewhere than before.
  bool set(const Tensor& goals, at::Device device) {
    if (goals_.defined() && at::equal(goals_, goals)) return false;
    const Tensor maps = ways_->distances(goals);
    goals_ = goals.clone();
    const bool stay = maps_.defined() && maps_.sizes() == maps.sizes();
    if (stay)
      maps_.copy_(maps);  // recordings read them where they are
    else
      maps_ = maps.to(device);
    return !stay;
  }
  Tensor look_up(const Tensor& positions) const { return ways_->look_up(maps_, positions); }

 private:
  std::shared_ptr<const TravelMap> ways_;
  Tensor goals_;  // [B, 2]
  Tensor maps_;   // [B, height, width] on the device: metres to each world's goal
};

bool guides_by_gradient(const ForcingPlannerConfig& config) {
  return config.guidance.scale != 0 && config.guidance.form == GuidanceForm::gradient;
}

void check(const ForcingPlannerConfig& config, bool predicts_rewards, bool configured) {
  const Require require("planning");
  const char* no_rewards = "0 for a model without predicted rewards (data.reward: false)";
  require.finite("p", config.p);
  require.finite("d", config.d);
  require.at_least("ahead", config.ahead, 0);
  require(config.reward.learned == 0 || predicts_rewards, "reward.learned", no_rewards, config.reward.learned);
  require(config.choice.learned == 0 || predicts_rewards, "choice.learned", no_rewards, config.choice.learned);
  const PlanRewardConfig& r = config.reward;
  const bool climbs =
      r.distance != 0 || r.dense != 0 || r.approach != 0 || r.stay != 0 || r.learned != 0 || r.action != 0 || r.dynamics != 0;
  if (guides_by_gradient(config) && configured && !climbs)
    throw Error("planning.reward: expected a term other than sparse, which has no gradient to guide by (planning.guidance.form), got none");
}

std::shared_ptr<GoalMaps> goal_maps(const ForcingPlannerConfig& config, const PlannerModel& trained) {
  const auto* domain = dynamic_cast<const Maze2dDomain*>(trained.domain.get());
  if (!domain || (config.reward.metric != PlanMetric::travel && config.choice.metric != PlanMetric::travel)) return nullptr;
  return std::make_shared<GoalMaps>(domain->ways());
}

}  // namespace

std::unique_ptr<Policy> make_forcing_planner(const ForcingPlannerConfig& config, const PlannerModel& trained, PlanReward reward,
                                             PlanObserver observer) {
  const bool configured = !reward;
  const auto maps = configured ? goal_maps(config, trained) : nullptr;
  TravelDistance ways;
  if (maps) ways = [maps](const Tensor& positions) { return maps->look_up(positions); };

  PlanTerms terms;
  terms.frame = frame_sizes;
  terms.action_low = {-1.0, -1.0};
  terms.action_high = {1.0, 1.0};
  terms.reward = configured ? make_plan_reward(config.reward, "planning.reward", ways) : reward;
  terms.choice = configured ? make_plan_reward(config.choice, "planning.choice", ways) : reward;
  check(config, FrameCodec(trained.spec, frame_sizes).has_reward(), configured);
  terms.additive = configured && config.reward.dynamics == 0;
  // The leap into the plan counts; whatever else the present is worth, it is worth to all of a world's candidates.
  terms.choice_sees_present = configured && config.choice.dynamics != 0;
  if (maps) terms.set_goals = [maps](const Tensor& goals, at::Device device) { return maps->set(goals, device); };
  if (config.execution == Execution::tracking)
    terms.control = [p = config.p, d = config.d, ahead = config.ahead](const Trajectory& plan, int64_t step, const Tensor& states) {
      return tracking_action(plan.observations, step + ahead, states, p, d);
    };
  return make_guided_planner(config, trained, std::move(terms), std::move(observer));
}

std::unique_ptr<Policy> make(const ForcingPlannerConfig& config, const PlannerModel& trained, PlanObserver observer) {
  return make_forcing_planner(config, trained, {}, std::move(observer));
}

}  // namespace df
