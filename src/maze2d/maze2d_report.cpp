// SPDX-License-Identifier: MIT
#include "diffusion_forcing/maze2d/maze2d_report.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "diffusion_forcing/maze2d/maze2d_generate.hpp"
#include "diffusion_forcing/maze2d/maze2d_statistics.hpp"

namespace df {

std::string maze_text(const Maze2dTask& task) {
  std::string text = fmt::format("{}: {} reward, {} steps an episode, reference scores {} and {}\n", task.id,
                                 task.dense ? "dense" : "sparse", task.max_steps, task.reference_min, task.reference_max);
  for (const auto& row : task.maze().rows) text += fmt::format("  {}\n", row);
  return text + fmt::format("x grows downwards and y to the right; {} free cells, goal at ({}, {})\n", task.maze().free_cells.size(),
                            task.maze().goal.w, task.maze().goal.h);
}

Maze2dDataReport report_maze2d(const OfflineData& data, const Maze2dTask& task) {
  const auto statistics = maze2d_statistics(data);
  const auto report = inspect_maze2d(data, task);
  const bool published = d4rl_rows(task) == report.rows && !task.dense;
  std::string text = fmt::format(
      "{} rows, {} ways to a goal (longest {}), {} repeated rows after their ends, {} departures from the task's goal (longest path {})\n",
      report.rows, report.segments, report.longest_segment, report.repeated, report.paths, report.longest_path);
  if (task.layout == "umaze" || task.layout == "medium" || task.layout == "large") {
    text += fmt::format("{:<12} {:>9} {:>9}   {}\n", "", "here", "D4RL", "sets of D4RL's size made this way");
    for (const auto& row : compare_statistics(statistics, task.layout)) {
      if (row.name == "mean reward" && task.dense) continue;
      text += fmt::format("{:<12} {:>9.5f} {:>9.5f}   {:.5f} +- {:.5f}{}\n", row.name, row.here, row.published, row.regenerated, row.spread,
                          published ? "" : "  (smaller sets vary more)");
    }
  } else {
    text += fmt::format("mean {:.4f}, std {:.4f}, actions' std {:.4f}, mean reward {:.5f}; nothing is published to compare with\n",
                        fmt::join(statistics.mean, " "), fmt::join(statistics.std, " "), fmt::join(statistics.action_std, " "),
                        statistics.reward_mean);
  }
  for (const auto& problem : report.problems) text += fmt::format("not D4RL's form: {}\n", problem);
  return {text, report.problems.empty()};
}

}  // namespace df
