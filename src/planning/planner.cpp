// SPDX-License-Identifier: MIT
#include "diffusion_forcing/planning/planner.hpp"

#include <utility>

namespace df {

namespace {

std::unique_ptr<Policy> make(const ForcingPlannerConfig& config, const PlannerModel& trained, PlanObserver observer) {
  return make_forcing_planner(config, trained, {}, std::move(observer));
}

std::unique_ptr<Policy> make(const DiffuserPlannerConfig& config, const PlannerModel& trained, PlanObserver observer) {
  return make_diffuser_planner(config, trained, std::move(observer));
}

}  // namespace

std::unique_ptr<Policy> make_planner(const PlanningConfig& config, const PlannerModel& trained, PlanObserver observer) {
  return std::visit([&](const auto& one) { return make(one, trained, std::move(observer)); }, config);
}

}  // namespace df
