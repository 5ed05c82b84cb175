// SPDX-License-Identifier: MIT
// D4RL's point maze over MuJoCo: a ball of 4.19 kg that two motors push through a maze, 100 steps a second. Observation and state are
// x, y, vx, vy in metres and metres a second.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "diffusion_forcing/core/enum_names.hpp"
#include "diffusion_forcing/core/numpy_random.hpp"
#include "diffusion_forcing/maze2d/maze2d_layout.hpp"

namespace df {

class ParticleModel;
class Particle;

enum class Maze2dPhysics {
  exact,  // D4RL's step to the last bit: forward dynamics is run once more before each step
  fast,   // without that: half the work, states within 1e-6 over 3000 steps
};
template <>
struct EnumNames<Maze2dPhysics> {
  static constexpr std::pair<std::string_view, Maze2dPhysics> table[] = {{"exact", Maze2dPhysics::exact}, {"fast", Maze2dPhysics::fast}};
};

// How a world is stepped and rewarded.
struct Maze2dOptions {
  bool dense = false;  // reward exp(-distance) instead of 1 within 0.5 of the target
  Maze2dPhysics physics = Maze2dPhysics::exact;
};

using Maze2dState = std::array<double, 4>;  // x, y, vx, vy

constexpr double maze2d_goal_radius = 0.5;
constexpr double maze2d_seconds_a_step = 0.01;
// Of being at `state`.
double maze2d_reward(const Maze2dState& state, const Point2& target, bool dense);

// One world. Nothing but the caller's count ends an episode; at the goal the reward comes again with every step.
class Maze2d {
 public:
  explicit Maze2d(const Maze2dLayout& layout, const Maze2dOptions& options = {});
  Maze2d(const Maze2d& sibling_of, const Maze2dOptions& options);  // a new world that shares the layout and the model
  ~Maze2d();
  Maze2d(Maze2d&&) noexcept;
  Maze2d& operator=(Maze2d&&) noexcept;

  // The state alone decides what follows: solver warm starts are forgotten. Throws df::Error for numbers that are not finite.
  void set_state(const Maze2dState& state);
  // A free cell, the goal's among them, + U(-0.1, 0.1)^2, at a velocity of 0.1 N(0, 1)^2. The target stays.
  void reset(NumpyRandom& random);
  // The goal's cell until another is set. The random one is a free cell + U(-0.1, 0.1)^2.
  void set_target(const Point2& target);
  void set_random_target(NumpyRandom& random);

  // Actions are clipped to [-1, 1] and velocities to [-5, 5] first. Returns the reward of the state after the step.
  // Throws df::Error for an action that is not finite.
  double step(const Point2& action);

  const Maze2dState& state() const { return state_; }
  const Point2& target() const { return target_; }
  const Maze2dLayout& layout() const { return *layout_; }
  const Maze2dOptions& options() const { return options_; }
  int64_t contacts() const;  // of the last step, the ground's included

 private:
  Maze2d(std::shared_ptr<const Maze2dLayout> layout, std::shared_ptr<const ParticleModel> model, const Maze2dOptions& options);

  std::shared_ptr<const Maze2dLayout> layout_;
  Maze2dOptions options_;
  std::shared_ptr<const ParticleModel> model_;
  std::unique_ptr<Particle> particle_;
  Maze2dState state_{};
  Point2 target_{};
};

}  // namespace df
