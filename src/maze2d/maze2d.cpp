// SPDX-License-Identifier: MIT
#include "diffusion_forcing/maze2d/maze2d.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "diffusion_forcing/core/error.hpp"
#include "maze2d/particle.hpp"

namespace df {

namespace {

constexpr double fastest = 5.0;
constexpr double farthest = 1e6;  // MuJoCo resets worlds whose numbers leave 1e10

Point2 near_cell(const Maze2dLayout& layout, NumpyRandom& random) {
  const auto cell = layout.free_cells[static_cast<size_t>(random.below(static_cast<int64_t>(layout.free_cells.size())))];
  Point2 point = to_point(cell);
  for (double& x : point) x += random.uniform(-0.1, 0.1);
  return point;
}

void check_finite(const double* values, size_t count, const char* what) {
  for (size_t i = 0; i < count; ++i)
    if (!(std::abs(values[i]) <= farthest))
      throw Error(fmt::format("maze2d: {}[{}]: expected a finite number within {:g}, got {}", what, i, farthest, values[i]));
}

}  // namespace

double maze2d_reward(const Maze2dState& state, const Point2& target, bool dense) {
  const double left = distance({state[0], state[1]}, target);
  return dense ? std::exp(-left) : left <= maze2d_goal_radius ? 1.0 : 0.0;
}

Maze2d::Maze2d(std::shared_ptr<const Maze2dLayout> layout, std::shared_ptr<const ParticleModel> model, const Maze2dOptions& options)
    : layout_(std::move(layout)),
      options_(options),
      model_(std::move(model)),
      particle_(model_->make_particle()),
      target_(to_point(layout_->goal)) {
  set_state({target_[0], target_[1], 0, 0});
}

Maze2d::Maze2d(const Maze2dLayout& layout, const Maze2dOptions& options)
    : Maze2d(std::make_shared<Maze2dLayout>(layout), make_particle_model(maze2d_mjcf(layout)), options) {}

Maze2d::Maze2d(const Maze2d& sibling_of, const Maze2dOptions& options) : Maze2d(sibling_of.layout_, sibling_of.model_, options) {}

Maze2d::~Maze2d() = default;
Maze2d::Maze2d(Maze2d&&) noexcept = default;
Maze2d& Maze2d::operator=(Maze2d&&) noexcept = default;

void Maze2d::set_state(const Maze2dState& state) {
  check_finite(state.data(), state.size(), "state");
  particle_->reset();
  particle_->write(state);
  particle_->forward();
  state_ = state;
}

void Maze2d::reset(NumpyRandom& random) {
  const Point2 point = near_cell(*layout_, random);
  Maze2dState state{point[0], point[1], 0, 0};
  for (size_t i = 2; i < 4; ++i) state[i] = 0.1 * random.normal();
  set_state(state);
}

void Maze2d::set_target(const Point2& target) {
  check_finite(target.data(), target.size(), "target");
  target_ = target;
}

void Maze2d::set_random_target(NumpyRandom& random) { target_ = near_cell(*layout_, random); }

double Maze2d::step(const Point2& action) {
  check_finite(action.data(), action.size(), "action");
  for (size_t i = 2; i < 4; ++i) state_[i] = std::clamp(state_[i], -fastest, fastest);
  particle_->write(state_);
  if (options_.physics == Maze2dPhysics::exact) particle_->forward();
  particle_->step({std::clamp(action[0], -1.0, 1.0), std::clamp(action[1], -1.0, 1.0)});
  state_ = particle_->read();
  return maze2d_reward(state_, target_, options_.dense);
}

int64_t Maze2d::contacts() const { return particle_->contacts(); }

}  // namespace df
