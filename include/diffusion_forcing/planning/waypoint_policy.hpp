// SPDX-License-Identifier: MIT
// D4RL's waypoint controller as a policy: the ceilings that planners are held against.
#pragma once

#include <memory>
#include <string>

#include "diffusion_forcing/core/enum_names.hpp"
#include "diffusion_forcing/environments/maze2d_layout.hpp"
#include "diffusion_forcing/planning/policy.hpp"

namespace df {

enum class WaypointKind {
  replanning,    // the controller that made the data, planning anew each episode
  stale,         // as D4RL's reference scores used it: it plans for the first episode only
  near_optimal,  // passes waypoints early and at speed
};
template <>
struct EnumNames<WaypointKind> {
  static constexpr std::pair<std::string_view, WaypointKind> table[] = {
      {"replanning", WaypointKind::replanning}, {"stale", WaypointKind::stale}, {"near_optimal", WaypointKind::near_optimal}};
};

std::unique_ptr<Policy> make_waypoint_policy(const Maze2dLayout& layout, WaypointKind kind);

}  // namespace df
