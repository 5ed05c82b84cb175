// SPDX-License-Identifier: MIT
#include "diffusion_forcing/maze2d/waypoint_controller.hpp"

#include <algorithm>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/maze2d/grid_planner.hpp"

namespace df {

namespace {

// The cell that a position belongs to. A ball that hugs a lower wall rounds to the wall's cell, from which the greedy policy leads out as
// from any other; only from a corner of walls it does not.
GridCell start_cell(const Maze2dLayout& layout, const std::vector<double>& values, const Point2& point) {
  const GridCell nearest = nearest_cell(point);
  if (leads_to_target(layout, values, nearest)) return nearest;
  const auto less = [&](GridCell a, GridCell b) { return distance(to_point(a), point) < distance(to_point(b), point); };
  return *std::min_element(layout.free_cells.begin(), layout.free_cells.end(), less);
}

}  // namespace

WaypointSettings near_optimal_waypoints() { return {.p = 30, .d = -3, .solved = 0.1, .waypoint_radius = 0.4}; }

WaypointController::WaypointController(const Maze2dLayout& layout, const WaypointSettings& settings)
    : layout_(layout), settings_(settings) {}

void WaypointController::forget() { target_.reset(); }

void WaypointController::plan(const Maze2dState& state, GridCell target, NumpyRandom& random) {
  if (values_target_ != target) {
    values_ = maze2d_values(layout_, target);
    values_target_ = target;
  }
  const GridCell start = start_cell(layout_, values_, {state[0], state[1]});
  std::vector<Point2> waypoints;
  for (const GridCell& cell : greedy_path(layout_, values_, start, target)) {
    Point2 point = to_point(cell);
    if (cell != target)
      for (double& x : point) x -= random.uniform(0.0, 0.2);
    waypoints.push_back(point);
  }
  set_plan(std::move(waypoints), to_point(start));
}

void WaypointController::set_plan(std::vector<Point2> waypoints, const Point2& previous) {
  if (waypoints.empty()) throw Error("waypoint controller: expected a plan of at least one waypoint, got none");
  waypoints_ = std::move(waypoints);
  target_ = nearest_cell(waypoints_.back());
  next_ = 0;
  previous_ = previous;
}

WaypointController::Output WaypointController::act(const Maze2dState& state, const Point2& target, NumpyRandom& random) {
  const GridCell cell = nearest_cell(target);
  if (target_ != cell) plan(state, cell, random);
  const Point2 location{state[0], state[1]}, goal = to_point(cell);
  const double moved = distance(previous_, location);
  const bool solved = distance(location, goal) < settings_.solved && moved < settings_.solved;
  const Point2& waypoint = solved ? goal : waypoints_[next_];
  Output output;
  output.done = solved;
  for (size_t i = 0; i < 2; ++i)
    output.action[i] = std::clamp(settings_.p * (waypoint[i] - location[i]) + settings_.d * state[i + 2], -1.0, 1.0);
  if (!solved && distance(location, waypoint) < settings_.waypoint_radius && moved < settings_.solved && next_ + 1 < waypoints_.size())
    ++next_;
  previous_ = location;
  return output;
}

}  // namespace df
