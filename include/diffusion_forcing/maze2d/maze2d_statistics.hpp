// SPDX-License-Identifier: MIT
// What maze2d data look like in numbers, and what D4RL's look like.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "diffusion_forcing/maze2d/d4rl_file.hpp"
#include "diffusion_forcing/maze2d/maze2d_task.hpp"

namespace df {

// Means and deviations of a maze's data.
struct Maze2dStatistics {
  std::array<double, 4> mean{}, std{};  // of the observations x, y, vx, vy
  std::array<double, 2> action_mean{}, action_std{};
  double reward_mean = 0, reward_std = 0;
};
// The actions' and observations' deviations are over all rows (n, not n - 1).
Maze2dStatistics maze2d_statistics(const OfflineData& data);

// Of D4RL's v1 data, as the configurations of Diffusion Forcing give them (Chen et al. 2024). Throws df::Error for layouts other than
// umaze, medium and large.
const Maze2dStatistics& published_statistics(std::string_view layout);

// One number of a data set beside the released data's and beside those of 12 to 24 full-size sets made with this generator.
struct Maze2dComparison {
  std::string name;
  double here = 0, published = 0, regenerated = 0, spread = 0;  // spread: standard deviation between such sets
};
// Each statistic beside the published one of that layout.
std::vector<Maze2dComparison> compare_statistics(const Maze2dStatistics& here, std::string_view layout);

// Rows at which the walk leaves the task's goal: within its radius here and not in the next row. Diffuser cuts the data there (Janner et
// al. 2022), which has nothing to do with `timeouts`.
std::vector<int64_t> goal_departures(const Tensor& observations, const Point2& goal);

// Lines about rows, segments and the quirks of generate_maze2d(), for programs; `problems` are those that contradict D4RL's form.
struct Maze2dReport {
  int64_t rows = 0, segments = 0, longest_segment = 0;
  int64_t repeated = 0;                 // rows whose observation is the one before, just after a timeout
  int64_t paths = 0, longest_path = 0;  // between departures from the goal
  std::vector<std::string> problems;
};
// Counts and statistics of data for a task.
Maze2dReport inspect_maze2d(const OfflineData& data, const Maze2dTask& task);

}  // namespace df
