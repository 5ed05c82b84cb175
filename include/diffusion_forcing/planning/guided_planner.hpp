// SPDX-License-Identifier: MIT
// Plans by guided sampling from a diffusion forcing model, in closed loop (Chen et al. 2024, section 4.2 and appendix). What plans are
// wanted for, and how they are followed, comes from an application.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "diffusion_forcing/core/tensor.hpp"
#include "diffusion_forcing/planning/frame_codec.hpp"
#include "diffusion_forcing/planning/planner_model.hpp"
#include "diffusion_forcing/planning/policy.hpp"
#include "diffusion_forcing/sampling/guidance.hpp"

namespace df {

// An application's config derives from this and visits the fields with its own.
struct GuidedPlannerConfig {
  int64_t horizon = 0;     // frames ahead at most; 0: to the end of the episode, which needs a model of such sequences
  int64_t open_loop = 10;  // steps between two plans
  int64_t candidates = 1;  // plans a world, of which the best by PlanTerms::choice is followed
  int64_t warm_start = 0;  // level to which the unused part of the last plan is noised again and from which sampling starts; 0: from noise
  bool keep = false;       // the rest of the plan followed so far is one more candidate, its last token repeated where it is too short
  GuidanceConfig guidance;
};

// Raw frames [B, F, D] (observation, action and, where the data have it, the model's own estimate of the reward) and goals [B, G] -> [B].
// Differentiable in the frames where it is to guide by gradient.
using PlanReward = std::function<Tensor(const Tensor& frames, const Tensor& goals)>;

// The action of step `step` since `plan` was made: states [B, O] -> [B, 1, A], float64.
using PlanControl = std::function<Tensor(const Trajectory& plan, int64_t step, const Tensor& states)>;

// What an application gives the planner.
struct PlanTerms {
  FrameSizes frame;
  std::vector<double> action_low, action_high;  // [A] to which planned actions are clipped; empty: they are not
  PlanReward reward;                            // guides
  PlanReward choice;                            // chooses among candidates
  bool additive = false;                        // `reward` is a sum over frames, so that those of finished tokens may be left out
  bool choice_sees_present = false;             // `choice` is given the present (its action 0) as a frame before those of the plan
  // Called before each plan with its goals [B, G]. True: what the rewards read has moved, so that recordings of them are void. May be
  // empty.
  std::function<bool(const Tensor& goals, at::Device device)> set_goals;
  PlanControl control;  // follows plans step by step; empty: their actions are executed, one after the other
};

// Throws df::Error naming the key: horizons that are no whole tokens, settings out of range, tokens that are no frames.
std::unique_ptr<Policy> make_guided_planner(const GuidedPlannerConfig& config, const PlannerModel& trained, PlanTerms terms,
                                            PlanObserver observer = {});

}  // namespace df
