// SPDX-License-Identifier: MIT
// What a maze is like, and whether data for it have D4RL's form and statistics: as text for people.
#pragma once

#include <string>

#include "diffusion_forcing/maze2d/d4rl_file.hpp"
#include "diffusion_forcing/maze2d/maze2d_task.hpp"

namespace df {

// The walls, the goal, the reward and the reference scores, several lines.
std::string maze_text(const Maze2dTask& task);

// What data of a maze are like, for df-data.
struct Maze2dDataReport {
  std::string text;  // several lines: rows, ways, statistics beside those of D4RL, faults
  bool good = true;  // whether the data have D4RL's form
};
// Counts rows and ways, and compares statistics with D4RL's. Data of another form are reported, not refused.
Maze2dDataReport report_maze2d(const OfflineData& data, const Maze2dTask& task);

}  // namespace df
