// SPDX-License-Identifier: MIT
// The controller that made D4RL's maze2d data: a way through the cells, followed by proportional and derivative control.
#pragma once

#include <optional>
#include <vector>

#include "diffusion_forcing/maze2d/maze2d.hpp"

namespace df {

// How a waypoint controller drives.
struct WaypointSettings {
  double p = 10, d = -1;         // action = p (waypoint - position) + d velocity, clipped to [-1, 1]
  double solved = 0.1;           // distance to the target, and the distance moved since the last call, below which it is reached
  double waypoint_radius = 0.1;  // of a waypoint that counts as passed
};
// Passes waypoints early and at speed: about the best that this form of controller does.
WaypointSettings near_optimal_waypoints();

// D4RL's controller: plans a way over cells and drives from waypoint to waypoint.
class WaypointController {
 public:
  // What the controller does in one step.
  struct Output {
    Point2 action{};
    bool done = false;  // at rest at the target
  };

  explicit WaypointController(const Maze2dLayout& layout, const WaypointSettings& settings = {});

  // Drives to the cell nearest to `target`, not to the target itself. Plans anew where that cell is another than last time and never else:
  // who starts another episode with the same target calls forget() first, which D4RL's reference scores do not. `random` shifts the
  // waypoints of a new plan by U(0, 0.2) towards the middle of their cells.
  Output act(const Maze2dState& state, const Point2& target, NumpyRandom& random);
  void forget();

  // Follows `waypoints`, the target last, from `previous` on, where act() would have planned.
  void set_plan(std::vector<Point2> waypoints, const Point2& previous);
  const std::vector<Point2>& waypoints() const { return waypoints_; }

 private:
  void plan(const Maze2dState& state, GridCell target, NumpyRandom& random);

  Maze2dLayout layout_;
  WaypointSettings settings_;
  std::optional<GridCell> target_;
  std::vector<double> values_;  // of values_target_
  std::optional<GridCell> values_target_;
  std::vector<Point2> waypoints_;
  size_t next_ = 0;
  Point2 previous_{};
};

}  // namespace df
