// SPDX-License-Identifier: MIT
// D4RL's waypoint controller as a policy: the ceilings that planners are held against.
#pragma once

#include <memory>
#include <string>

#include "diffusion_forcing/core/enum_names.hpp"
#include "diffusion_forcing/maze2d/maze2d_layout.hpp"
#include "diffusion_forcing/planning/policy.hpp"

namespace df {

enum class WaypointKind {
  replanning,    // the controller that made the data, planning anew each episode
  stale,         // as D4RL's reference scores used it: one controller through all episodes, which plans where the goal is another
  near_optimal,  // passes waypoints early and at speed
};
template <>
struct EnumNames<WaypointKind> {
  static constexpr std::pair<std::string_view, WaypointKind> table[] = {
      {"replanning", WaypointKind::replanning}, {"stale", WaypointKind::stale}, {"near_optimal", WaypointKind::near_optimal}};
};

// `stale` takes worlds as the episodes of one process, in the order of their numbers: world i plans where its goal lies in another cell
// than that of world i - 1, and else keeps the plan that world i - 1 has come to the end of, so it drives straight at the goal, through
// walls or not. World 0 plans. Batches of any size play the same, if they come in order: a batch that does not follow on the last one plans
// in its first world.
std::unique_ptr<Policy> make_waypoint_policy(const Maze2dLayout& layout, WaypointKind kind);

}  // namespace df
