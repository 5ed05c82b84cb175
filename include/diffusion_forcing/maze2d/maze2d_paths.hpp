// SPDX-License-Identifier: MIT
// D4RL's maze2d walks as Diffuser sees them (Janner et al. 2022): whole trajectories from inside one path between visits of the goal.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "diffusion_forcing/data/dataset.hpp"
#include "diffusion_forcing/maze2d/maze2d_source.hpp"

namespace df {

class PlanningDomain;

// The section `data` with `type: maze2d_paths`.
struct Maze2dPathsConfig : Maze2dSource {
  static constexpr const char* type = "maze2d_paths";
  int64_t horizon = 128;   // H, frames of a window
  double held_out = 0.02;  // share of the walk, at its end, kept for validation
  template <class V>
  void visit(V&& v) {
    Maze2dSource::visit(v);
    v("horizon", horizon, "frames of a window, which is one token");
    v("held_out", held_out, "share of the walk kept for validation");
  }
};

// Rows begin .. end - 1 of a walk.
struct Maze2dPath {
  int64_t begin = 0, end = 0;
};
// The walk cut after every row at which it leaves the goal (goal_departures()). The last row of each path belongs to none, and neither does
// what follows the last departure.
std::vector<Maze2dPath> maze2d_paths(const Tensor& observations, const Point2& goal);

// A window is `horizon` rows of one path of its split, from any row but the last that fits, as the authors count them. It is one token
// [H, 6]: frame f is the observation (x, y, vx, vy) of row f and that row's action. c holds the observations of the first and the last
// frame, [1, 8]. Entry d is (raw - frame_mean[d]) / frame_std[d] with the middle and half the width of the range of all training paths, so
// -1 .. 1.
std::shared_ptr<const Dataset> make(const Maze2dPathsConfig& config, Split split);
// What planners may know of these data: a Maze2dDomain.
std::shared_ptr<const PlanningDomain> planning_domain(const Maze2dPathsConfig& config);

}  // namespace df
