// SPDX-License-Identifier: MIT
// D4RL's maze2d data made anew: one long walk of the waypoint controller from goal to goal, with its quirks.
#pragma once

#include <cstdint>

#include "diffusion_forcing/maze2d/d4rl_file.hpp"
#include "diffusion_forcing/maze2d/maze2d.hpp"
#include "diffusion_forcing/maze2d/maze2d_task.hpp"

namespace df {

// How much data is made, and from which seed.
struct Maze2dGeneration {
  int64_t rows = 0;  // 0: as many as D4RL's
  uint64_t seed = 0;
  double noise = 0.5;  // standard deviation of what is added to actions, as in the released data
  Maze2dPhysics physics = Maze2dPhysics::exact;
};

int64_t d4rl_rows(const Maze2dTask& task);  // 1e6 umaze, 2e6 medium, 4e6 large, 1e6 others

// A pure function of its arguments. As in the released files:
// - no resets: it is one trajectory, and `timeouts` marks where a goal was reached and the next one drawn;
// - after such a row the recorded observation stays for one more row, while infos hold the simulator's true state;
// - `rewards` are of the recorded observation and the task's fixed goal, not of the goal walked to; terminals are all false.
// Throws df::Error for fewer than one row.
OfflineData generate_maze2d(const Maze2dTask& task, const Maze2dGeneration& generation = {});

}  // namespace df
