// SPDX-License-Identifier: MIT
// df-data's part for the mazes: makes data in D4RL's form, and looks at such files. Header only, as app.hpp.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>

#include "app.hpp"
#include "diffusion_forcing/maze2d/maze2d_generate.hpp"
#include "diffusion_forcing/maze2d/maze2d_statistics.hpp"

namespace df::app {

struct Maze2dDataOptions {
  std::string out, file;
  int64_t rows = 0;
  uint64_t seed = 0;
};

inline void print_maze(const Maze2dTask& task) {
  fmt::print("{}: {} reward, {} steps an episode, reference scores {} and {}\n", task.id, task.dense ? "dense" : "sparse", task.max_steps,
             task.reference_min, task.reference_max);
  for (const auto& row : task.maze().rows) fmt::print("  {}\n", row);
  fmt::print("x grows downwards and y to the right; {} free cells, goal at ({}, {})\n", task.maze().free_cells.size(), task.maze().goal.w,
             task.maze().goal.h);
}

// Beside what D4RL's data have; false where the form is another.
inline bool print_data(const OfflineData& data, const Maze2dTask& task) {
  const auto statistics = maze2d_statistics(data);
  const auto report = inspect_maze2d(data, task);
  const bool published = d4rl_rows(task) == report.rows && !task.dense;
  fmt::print(
      "{} rows, {} ways to a goal (longest {}), {} repeated rows after their ends, {} departures from the task's goal (longest path {})\n",
      report.rows, report.segments, report.longest_segment, report.repeated, report.paths, report.longest_path);
  if (task.layout == "umaze" || task.layout == "medium" || task.layout == "large") {
    fmt::print("{:<12} {:>9} {:>9}   {}\n", "", "here", "D4RL", "sets of D4RL's size made this way");
    for (const auto& row : compare_statistics(statistics, task.layout)) {
      if (row.name == "mean reward" && task.dense) continue;
      fmt::print("{:<12} {:>9.5f} {:>9.5f}   {:.5f} +- {:.5f}{}\n", row.name, row.here, row.published, row.regenerated, row.spread,
                 published ? "" : "  (smaller sets vary more)");
    }
  } else {
    fmt::print("mean {:.4f}, std {:.4f}, actions' std {:.4f}, mean reward {:.5f}; nothing is published to compare with\n",
               fmt::join(statistics.mean, " "), fmt::join(statistics.std, " "), fmt::join(statistics.action_std, " "),
               statistics.reward_mean);
  }
  for (const auto& problem : report.problems) fmt::print("not D4RL's form: {}\n", problem);
  return report.problems.empty();
}

inline int maze2d_data(const std::string& id, const Maze2dDataOptions& options) {
  const Maze2dTask& task = maze2d_task(id);
  print_maze(task);
  bool good = true;
  if (!options.file.empty()) good = print_data(read_d4rl(options.file, {.observation = 4, .action = 2}), task);
  if (options.out.empty()) return good ? success : failed;
  auto seconds = [start = std::chrono::steady_clock::now()]() mutable {
    const auto now = std::chrono::steady_clock::now();
    return std::chrono::duration<double>(now - std::exchange(start, now)).count();
  };
  const OfflineData data = generate_maze2d(task, {.rows = options.rows, .seed = options.seed});
  const double made = seconds();
  write_d4rl(options.out, data);
  fmt::print("{}: made in {:.1f} s ({:.0f} rows/s), written in {:.1f} s\n", options.out, made, static_cast<double>(data.rows()) / made,
             seconds());
  return print_data(data, task) && good ? success : failed;
}

}  // namespace df::app
