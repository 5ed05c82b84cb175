// SPDX-License-Identifier: MIT
// Diffusion forcing as a planner in the mazes: the rewards that guide plans, and how plans are followed.
#pragma once

#include <cstdint>
#include <memory>

#include "diffusion_forcing/maze2d/execution.hpp"
#include "diffusion_forcing/maze2d/plan_reward.hpp"
#include "diffusion_forcing/planning/guided_planner.hpp"

namespace df {

// The section `planning` of type diffusion_forcing.
struct ForcingPlannerConfig : GuidedPlannerConfig {
  static constexpr const char* type = "diffusion_forcing";
  Execution execution = Execution::actions;
  double p = 10.0, d = 1.0;  // tracking: action = p (planned position - position) + d (planned velocity - velocity)
  int64_t ahead = 0;         // tracking: steps by which the planned frame aimed at is later than the next one; drives faster the same way
  PlanRewardConfig reward;   // that guides
  PlanRewardConfig choice = {
      .distance = 0, .dense = 1, .dynamics = 0.1};  // that chooses among candidates; sees the leap from the present into a plan
  template <class V>
  void visit(V&& v) {
    v("horizon", horizon, "frames ahead at most, 0: to the end of the episode");
    v("open_loop", open_loop, "steps between two plans");
    v("candidates", candidates, "plans a world, of which the best by `choice` is followed");
    v("warm_start", warm_start, "level to which the rest of the last plan is noised again, 0: plans start from noise");
    v("keep", keep, "the rest of the plan followed so far stays a candidate");
    v("execution", execution, "actions: the planned ones; tracking: control along the planned positions");
    v("p", p, "gain of tracking on the position");
    v("d", d, "gain of tracking on the velocity");
    v("ahead", ahead, "steps by which tracking aims beyond the next planned frame");
    v("reward", reward, "that guides");
    v("choice", choice, "that chooses among candidates");
    v("guidance", guidance, "");
  }
};

// `reward` replaces the configured ones, that of the choice as well, and sees whole plans, however many of their frames are finished
// already. Throws df::Error naming the key: see make_guided_planner(); a guidance that the reward cannot feed; metric travel where
// `trained.domain` is not that of a maze's data.
std::unique_ptr<Policy> make_forcing_planner(const ForcingPlannerConfig& config, const PlannerModel& trained, PlanReward reward = {},
                                             PlanObserver observer = {});
// With the configured rewards.
std::unique_ptr<Policy> make(const ForcingPlannerConfig& config, const PlannerModel& trained, PlanObserver observer);

}  // namespace df
