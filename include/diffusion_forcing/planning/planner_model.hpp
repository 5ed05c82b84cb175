// SPDX-License-Identifier: MIT
// What a planner gets of a trained model.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "diffusion_forcing/data/dataset.hpp"
#include "diffusion_forcing/diffusion/diffusion.hpp"
#include "diffusion_forcing/planning/planning_domain.hpp"
#include "diffusion_forcing/sampling/rollout.hpp"

namespace df {

class CausalModel;

// The model outlives the policy.
struct PlannerModel {
  CausalModel& model;
  Diffusion diffusion;
  DataSpec spec;
  RolloutConfig sampling;                             // schedule, steps, slope, solver of a plan
  std::shared_ptr<const PlanningDomain> domain = {};  // of the data; null: nothing is known but the model
};

// Rows of a plan of the first world while it is sampled: row m, raw frames [F, D].
using PlanObserver = std::function<void(int64_t row, const Tensor& frames)>;

}  // namespace df
