// SPDX-License-Identifier: MIT
// The registry of planners: a new one is a file pair and a name here.
#pragma once

#include <variant>

#include "diffusion_forcing/planning/diffuser_planner.hpp"
#include "diffusion_forcing/planning/forcing_planner.hpp"

namespace df {

using PlanningConfig = std::variant<ForcingPlannerConfig, DiffuserPlannerConfig>;

std::unique_ptr<Policy> make_planner(const PlanningConfig& config, const PlannerModel& trained, PlanObserver observer = {});

}  // namespace df
