// SPDX-License-Identifier: MIT
// Plans by guided sampling from a diffusion forcing model, in closed loop (Chen et al. 2024, section 4.2 and appendix).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "diffusion_forcing/core/enum_names.hpp"
#include "diffusion_forcing/data/dataset.hpp"
#include "diffusion_forcing/diffusion/diffusion.hpp"
#include "diffusion_forcing/maze2d/plan_reward.hpp"
#include "diffusion_forcing/planning/policy.hpp"
#include "diffusion_forcing/sampling/guidance.hpp"
#include "diffusion_forcing/sampling/rollout.hpp"

namespace df {

class TravelMap;

enum class Execution {
  actions,   // the planned actions, one after the other
  tracking,  // the planned positions and velocities, followed by proportional and derivative control
};
template <>
struct EnumNames<Execution> {
  static constexpr std::pair<std::string_view, Execution> table[] = {{"actions", Execution::actions}, {"tracking", Execution::tracking}};
};

struct ForcingPlannerConfig {
  static constexpr const char* type = "diffusion_forcing";
  int64_t horizon = 0;     // frames ahead at most; 0: to the end of the episode, which needs a model of such sequences
  int64_t open_loop = 10;  // steps between two plans
  int64_t candidates = 1;  // plans a world, of which the best by `choice` is followed
  int64_t warm_start = 0;  // level to which the unused part of the last plan is noised again and from which sampling starts; 0: from noise
  bool keep = false;       // the rest of the plan followed so far is one more candidate, its last token repeated where it is too short
  Execution execution = Execution::actions;
  double p = 10.0, d = 1.0;  // tracking: action = p (planned position - position) + d (planned velocity - velocity)
  int64_t ahead = 0;         // tracking: steps by which the planned frame aimed at is later than the next one; drives faster the same way
  PlanRewardConfig reward;   // that guides
  PlanRewardConfig choice = {
      .distance = 0, .dense = 1, .dynamics = 0.1};  // that chooses among candidates; sees the leap from the present into a plan
  GuidanceConfig guidance;
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

// What a planner needs of a trained model. The objects outlive the policy.
struct PlannerModel {
  CausalModel& model;
  const Diffusion& diffusion;
  DataSpec spec;
  RolloutConfig sampling;                        // schedule, steps, slope, solver of a plan
  std::shared_ptr<const TravelMap> travel = {};  // of the data; for rewards of metric travel alone
};

// Rows of a plan of the first world while it is sampled: row m, raw frames [F, D].
using PlanObserver = std::function<void(int64_t row, const Tensor& frames)>;

// `reward` replaces the configured ones, that of the choice as well, and sees whole plans, however many of their frames are finished
// already. Throws df::Error naming the key: horizons that are no whole tokens, a guidance that the reward cannot feed, tokens that are no
// frames, metric travel without a map.
std::unique_ptr<Policy> make_forcing_planner(const ForcingPlannerConfig& config, const PlannerModel& trained, PlanReward reward = {},
                                             PlanObserver observer = {});
// With the configured rewards.
std::unique_ptr<Policy> make(const ForcingPlannerConfig& config, const PlannerModel& trained, PlanObserver observer);

}  // namespace df
