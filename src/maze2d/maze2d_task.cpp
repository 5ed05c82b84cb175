// SPDX-License-Identifier: MIT
#include "diffusion_forcing/maze2d/maze2d_task.hpp"

#include <fmt/format.h>

#include "maze2d/find_named.hpp"

namespace df {

namespace {

struct Row {
  const char *layout, *version;
  int64_t max_steps;
  double sparse_min, sparse_max, dense_min, dense_max;
};

// As published in D4RL's infos.py. eval-umaze's dense minimum there is that of eval-large (its own would be 70.68).
constexpr Row rows[] = {
    {"umaze", "v1", 300, 23.85, 161.86, 68.537689, 193.66285642381482},
    {"medium", "v1", 600, 13.13, 277.39, 44.264742, 297.4552547777125},
    {"large", "v1", 800, 6.7, 273.99, 30.569041, 303.4857382709002},
    {"open", "v0", 150, 0.01, 20.66, 11.17817, 27.166538620695782},
    {"eval-umaze", "v1", 300, 36.63, 141.4, 56.95455, 178.21373133248397},
    {"eval-medium", "v1", 600, 13.07, 204.93, 42.28578, 235.5658957482388},
    {"eval-large", "v1", 800, 16.4, 302.22, 56.95455, 326.09647655082637},
    {"umaze", "v0", 150, 0.94, 62.6, 23.249793, 81.78995},
    {"medium", "v0", 250, 5.77, 85.14, 19.477620, 96.03474},
    {"large", "v0", 600, 4.83, 191.99, 27.388310, 215.09966},
};

std::vector<Maze2dTask> make_tasks() {
  std::vector<Maze2dTask> all;
  for (const Row& row : rows) {
    all.push_back({fmt::format("maze2d-{}-{}", row.layout, row.version), row.layout, false, row.max_steps, row.sparse_min, row.sparse_max});
    all.push_back(
        {fmt::format("maze2d-{}-dense-{}", row.layout, row.version), row.layout, true, row.max_steps, row.dense_min, row.dense_max});
  }
  return all;
}

}  // namespace

double normalized_score(const Maze2dTask& task, double episode_return) {
  return (episode_return - task.reference_min) / (task.reference_max - task.reference_min);
}

const std::vector<Maze2dTask>& maze2d_tasks() {
  static const std::vector<Maze2dTask> all = make_tasks();
  return all;
}

const Maze2dTask& maze2d_task(std::string_view id) { return find_named(maze2d_tasks(), &Maze2dTask::id, id, "task"); }

}  // namespace df
