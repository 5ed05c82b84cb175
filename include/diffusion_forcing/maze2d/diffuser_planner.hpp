// SPDX-License-Identifier: MIT
// Diffuser (Janner et al. 2022) as a policy: one plan from start to goal, drawn between the two, then followed.
#pragma once

#include <cstdint>
#include <memory>

#include "diffusion_forcing/maze2d/execution.hpp"
#include "diffusion_forcing/planning/planner_model.hpp"
#include "diffusion_forcing/planning/policy.hpp"

namespace df {

// The section `planning` with `type: diffuser`.
struct DiffuserPlannerConfig {
  static constexpr const char* type = "diffuser";
  int64_t open_loop = 0;                      // steps between two plans; 0: one plan an episode, as published
  Execution execution = Execution::tracking;  // `actions` is the published "diffused action" row
  double p = 1.0, d = 1.0;                    // tracking: action = p (planned position - position) + d (planned velocity - velocity)
  template <class V>
  void visit(V&& v) {
    v("open_loop", open_loop, "steps between two plans, 0: one plan an episode");
    v("execution", execution, "actions: the planned ones; tracking: control along the planned positions");
    v("p", p, "gain of tracking on the position");
    v("d", d, "gain of tracking on the velocity");
  }
};

// The model is a temporal_unet on data maze2d_paths: one token of H frames (observation, action), with start and goal as its condition.
// Where the plan ends, its last position is held at rest; planned actions are followed by - velocity. Throws df::Error for other models.
std::unique_ptr<Policy> make(const DiffuserPlannerConfig& config, const PlannerModel& trained, PlanObserver observer);

}  // namespace df
