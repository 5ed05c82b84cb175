// SPDX-License-Identifier: MIT
// A maze2d task as an environment for policies: what a world's state, goal, numbers and picture are.
#pragma once

#include <cstdint>
#include <memory>

#include "diffusion_forcing/core/enum_names.hpp"
#include "diffusion_forcing/maze2d/maze2d.hpp"
#include "diffusion_forcing/maze2d/maze2d_task.hpp"
#include "diffusion_forcing/planning/environment.hpp"

namespace df {

// By which the steps of an episode are counted.
enum class Protocol {
  full,   // the task's own number of steps: 300, 600, 800 on umaze, medium, large
  paper,  // Chen et al. 2024: at most 600 steps, so large is scored over 600 of its 800
};
template <>
struct EnumNames<Protocol> {
  static constexpr std::pair<std::string_view, Protocol> table[] = {{"full", Protocol::full}, {"paper", Protocol::paper}};
};
// Steps of an episode of a task under a protocol.
int64_t episode_steps(const Maze2dTask& task, Protocol protocol);

// What may be chosen about a maze.
struct Maze2dEnvironmentOptions {
  bool multi = false;  // a random goal each episode, drawn after the start (multi task)
  Protocol protocol = Protocol::full;
  int64_t threads = 1;  // that step the worlds; 0 or 1: the caller's own
  Maze2dPhysics physics = Maze2dPhysics::exact;
};

// State and record are x, y, vx, vy, the goal is x, y. World i of seed s starts as gym's environment seeded with s + i. Numbers of an
// episode: `raw`, the sum of the rewards of the states after each step; `normalized`, see normalized_score(); `first_reach`, the first step
// (from 1) that ended within the goal's radius, 0 where the world started there.
EnvironmentSpec maze2d_environment_spec(const Maze2dTask& task, const Maze2dEnvironmentOptions& options = {});
// Throws df::Error for fewer than 0 threads.
std::unique_ptr<Environment> make_maze2d_environment(const Maze2dTask& task, const Maze2dEnvironmentOptions& options = {});

}  // namespace df
