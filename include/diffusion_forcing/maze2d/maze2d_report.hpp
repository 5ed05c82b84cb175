// SPDX-License-Identifier: MIT
// What a maze is like, and whether data for it have D4RL's form and statistics: as text for people.
#pragma once

#include <string>

#include "diffusion_forcing/maze2d/d4rl_file.hpp"
#include "diffusion_forcing/maze2d/maze2d_task.hpp"

namespace df {

// The walls, the goal, the reward and the reference scores, several lines.
std::string maze_text(const Maze2dTask& task);

struct Maze2dDataReport {
  std::string text;  // several lines: rows, ways, statistics beside those of D4RL, faults
  bool good = true;  // whether the data have D4RL's form
};
Maze2dDataReport report_maze2d(const OfflineData& data, const Maze2dTask& task);

}  // namespace df
