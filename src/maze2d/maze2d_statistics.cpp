// SPDX-License-Identifier: MIT
#include "diffusion_forcing/maze2d/maze2d_statistics.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/shape.hpp"
#include "diffusion_forcing/maze2d/maze2d.hpp"

namespace df {

namespace {

struct Reference {
  const char* layout;
  Maze2dStatistics published;
  Maze2dStatistics regenerated, spread;  // means and standard deviations over full-size runs; velocities' means were not taken
};

const Reference references[] = {
    {"umaze",
     {{1.93279, 2.37447, 2.06e-4, -1.02e-3},
      {0.899722, 0.709316, 2.21286, 2.46817},
      {0.00154, 0.00434},
      {0.704347, 0.750625},
      0.081254,
      0.27322},
     {{1.9356, 2.3799, 0, 0}, {0.8988, 0.7057, 2.218, 2.462}, {0.00157, 0.00437}, {0.7055, 0.7502}, 0.0791, 0},
     {{0.0096, 0.0039, 0, 0}, {0.0007, 0.0027, 0.006, 0.007}, {0, 0}, {0.0007, 0.0007}, 0.0020, 0}},
    {"medium",
     {{3.50925, 3.47656, 4.1e-5, 3.8e-5},
      {1.33711, 1.52102, 2.34077, 2.36937},
      {0.00124, 0.00125},
      {0.739773, 0.745942},
      0.0236665,
      0.15201},
     {{3.478, 3.461, 0, 0}, {1.334, 1.519, 2.336, 2.376}, {0.00123, 0.00121}, {0.7393, 0.7463}, 0.0234, 0},
     {{0.013, 0.012, 0, 0}, {0.003, 0.003, 0.004, 0.004}, {0, 0}, {0.0004, 0.0004}, 0.0007, 0}},
    {"large",
     {{3.72963, 5.30472, 4.7e-5, 2.9e-5},
      {1.80703, 2.56876, 2.43685, 2.64937},
      {0.00101, 0.00078},
      {0.724930, 0.739461},
      0.0089225,
      0.09404},
     {{3.676, 5.280, 0, 0}, {1.802, 2.596, 2.448, 2.653}, {0.00115, 0.00085}, {0.7259, 0.7400}, 0.0088, 0},
     {{0.012, 0.019, 0, 0}, {0.004, 0.010, 0.003, 0.003}, {0, 0}, {0.0004, 0.0003}, 0.0003, 0}},
};

const Reference& reference(std::string_view layout) {
  for (const Reference& one : references)
    if (one.layout == layout) return one;
  throw Error(fmt::format("maze {}: expected umaze, medium or large, of which statistics are published", layout));
}

template <size_t n>
void moments(const Tensor& rows, std::array<double, n>& mean, std::array<double, n>& std) {
  const Tensor wide = rows.to(at::kDouble), middle = wide.mean(0), deviation = wide.std(0, false);
  for (size_t i = 0; i < n; ++i) {
    mean[i] = middle[static_cast<int64_t>(i)].item<double>();
    std[i] = deviation[static_cast<int64_t>(i)].item<double>();
  }
}

// Greatest distance between neighbours of -1 and the rows where `flags` is true.
int64_t longest_gap(const Tensor& ends) {
  if (ends.size(0) == 0) return 0;
  return at::cat({at::full({1}, -1, at::kLong), ends}).diff().max().item<int64_t>();
}

void inspect_timeouts(const OfflineData& data, Maze2dReport& report) {
  if (!data.timeouts.defined()) {
    report.problems.emplace_back("timeouts: expected a data set, got none");
    return;
  }
  const Tensor ends = data.timeouts.nonzero().squeeze(1);
  report.segments = ends.size(0);
  report.longest_segment = longest_gap(ends);
  const Tensor before = ends.slice(0, 0, ends.numel() > 0 && ends[-1].item<int64_t>() + 1 == data.rows() ? -1 : ends.size(0));
  const Tensor same = data.observations.index_select(0, before).eq(data.observations.index_select(0, before + 1)).all(1);
  report.repeated = same.sum().item<int64_t>();
  if (report.repeated != before.size(0))
    report.problems.push_back(fmt::format("observations: expected the row after each of {} timeouts to repeat the one before, got {}",
                                          before.size(0), report.repeated));
  const Tensor all = data.observations.slice(0, 1).eq(data.observations.slice(0, 0, -1)).all(1);
  if (const auto more = all.sum().item<int64_t>(); more != report.repeated)
    report.problems.push_back(
        fmt::format("observations: expected repeated rows after timeouts only, got {} elsewhere", more - report.repeated));
}

}  // namespace

Maze2dStatistics maze2d_statistics(const OfflineData& data) {
  check_shape(data.observations, "observations", {-1, 4});
  check_shape(data.actions, "actions", {data.rows(), 2});
  check_shape(data.rewards, "rewards", {data.rows()});
  Maze2dStatistics all;
  moments(data.observations, all.mean, all.std);
  moments(data.actions, all.action_mean, all.action_std);
  const Tensor rewards = data.rewards.to(at::kDouble);
  all.reward_mean = rewards.mean().item<double>();
  all.reward_std = rewards.std(false).item<double>();
  return all;
}

const Maze2dStatistics& published_statistics(std::string_view layout) { return reference(layout).published; }

std::vector<Maze2dComparison> compare_statistics(const Maze2dStatistics& here, std::string_view layout) {
  const Reference& ref = reference(layout);
  std::vector<Maze2dComparison> rows;
  const auto add = [&](const char* name, auto number) {
    rows.push_back({name, number(here), number(ref.published), number(ref.regenerated), number(ref.spread)});
  };
  using S = const Maze2dStatistics&;
  add("mean x", [](S s) { return s.mean[0]; });
  add("mean y", [](S s) { return s.mean[1]; });
  add("std x", [](S s) { return s.std[0]; });
  add("std y", [](S s) { return s.std[1]; });
  add("std vx", [](S s) { return s.std[2]; });
  add("std vy", [](S s) { return s.std[3]; });
  add("std ax", [](S s) { return s.action_std[0]; });
  add("std ay", [](S s) { return s.action_std[1]; });
  add("mean reward", [](S s) { return s.reward_mean; });
  return rows;
}

std::vector<int64_t> goal_departures(const Tensor& observations, const Point2& goal) {
  check_shape(observations, "observations", {-1, -1});
  const Tensor center = at::tensor({goal[0], goal[1]}, at::kDouble);
  const Tensor inside = (observations.slice(1, 0, 2).to(at::kDouble) - center).square().sum(1).sqrt().lt(maze2d_goal_radius);
  const int64_t n = inside.size(0);
  const Tensor rows = inside.slice(0, 0, n - 1).logical_and(inside.slice(0, 1, n).logical_not()).nonzero().squeeze(1).contiguous();
  return {rows.const_data_ptr<int64_t>(), rows.const_data_ptr<int64_t>() + rows.numel()};
}

Maze2dReport inspect_maze2d(const OfflineData& data, const Maze2dTask& task) {
  Maze2dReport report;
  report.rows = data.rows();
  inspect_timeouts(data, report);
  if (data.terminals.any().item<bool>()) report.problems.emplace_back("terminals: expected all false, got true ones");
  if (data.actions.abs().max().item<double>() > 1.0) report.problems.emplace_back("actions: expected -1 .. 1, got larger ones");
  const Point2 goal = to_point(task.maze().goal);
  const auto departures = goal_departures(data.observations, goal);
  report.paths = static_cast<int64_t>(departures.size());
  report.longest_path = longest_gap(at::tensor(departures, at::kLong));
  const Tensor place = data.observations.slice(1, 0, 2).to(at::kDouble) - at::tensor({goal[0], goal[1]}, at::kDouble);
  const Tensor distance = place.square().sum(1).sqrt();
  const Tensor expected = task.dense ? distance.neg().exp() : distance.le(maze2d_goal_radius).to(at::kDouble);
  if (const auto wrong = (expected - data.rewards).abs().gt(1e-5).sum().item<int64_t>(); wrong > 0)
    report.problems.push_back(fmt::format("rewards: expected those of {} for each observation, got {} others", task.id, wrong));
  return report;
}

}  // namespace df
