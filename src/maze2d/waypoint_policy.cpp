// SPDX-License-Identifier: MIT
#include "diffusion_forcing/maze2d/waypoint_policy.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <optional>
#include <vector>

#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/core/shape.hpp"
#include "diffusion_forcing/maze2d/waypoint_controller.hpp"

namespace df {

namespace {

class WaypointPolicy : public Policy {
 public:
  WaypointPolicy(const Maze2dLayout& layout, WaypointKind kind) : layout_(layout), kind_(kind) {}

  void start(int64_t worlds, uint64_t seed, int64_t first_world) override {
    if (seed != seed_ || first_world != next_world_ || first_world == 0) last_goal_.reset();
    seed_ = seed;
    next_world_ = first_world + worlds;
    fresh_ = true;
    const auto settings = kind_ == WaypointKind::near_optimal ? near_optimal_waypoints() : WaypointSettings{};
    controllers_.assign(static_cast<size_t>(worlds), WaypointController(layout_, settings));
    randoms_.clear();
    for (int64_t i = 0; i < worlds; ++i) randoms_.emplace_back(derive_seed(seed, Stream::sampling, static_cast<uint64_t>(first_world + i)));
  }

  Decision act(const Situation& situation) override {
    const auto worlds = static_cast<int64_t>(controllers_.size());
    check_shape(situation.now.state, "states", {worlds, 4});
    check_shape(situation.now.goal, "goals", {worlds, 2});
    const Tensor states = situation.now.state.to(at::kDouble).contiguous(), goals = situation.now.goal.to(at::kDouble).contiguous();
    const double *state = states.const_data_ptr<double>(), *goal = goals.const_data_ptr<double>();
    if (fresh_ && kind_ == WaypointKind::stale) keep_plans(goal);
    fresh_ = false;
    Decision decision{at::empty({worlds, 1, 2}, at::kDouble), {}, 0.0};
    double* to = decision.actions.mutable_data_ptr<double>();
    for (size_t i = 0; i < controllers_.size(); ++i, state += 4, goal += 2) {
      const auto output = controllers_[i].act({state[0], state[1], state[2], state[3]}, {goal[0], goal[1]}, randoms_[i]);
      *to++ = output.action[0];
      *to++ = output.action[1];
    }
    return decision;
  }

  std::string describe() const override { return fmt::format("waypoint controller ({})", enum_name(kind_)); }

 private:
  // Where the episode before had the same goal, the plan is that one's, at its end: the goal's cell, with the ball at rest there.
  void keep_plans(const double* goals) {
    for (size_t i = 0; i < controllers_.size(); ++i, goals += 2) {
      const GridCell goal = nearest_cell({goals[0], goals[1]});
      if (last_goal_ == goal) controllers_[i].set_plan({to_point(goal)}, to_point(goal));
      last_goal_ = goal;
    }
  }

  Maze2dLayout layout_;
  WaypointKind kind_;
  std::vector<WaypointController> controllers_;
  std::vector<NumpyRandom> randoms_;
  uint64_t seed_ = 0;
  int64_t next_world_ = 0;
  std::optional<GridCell> last_goal_;  // of world next_world_ - 1 once it has been asked for
  bool fresh_ = false;                 // no action yet since start()
};

}  // namespace

std::unique_ptr<Policy> make_waypoint_policy(const Maze2dLayout& layout, WaypointKind kind) {
  return std::make_unique<WaypointPolicy>(layout, kind);
}

}  // namespace df
