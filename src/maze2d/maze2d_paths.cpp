// SPDX-License-Identifier: MIT
#include "diffusion_forcing/maze2d/maze2d_paths.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "core/require.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/maze2d/maze2d_statistics.hpp"

namespace df {

namespace {

constexpr int64_t frame_size = 6, observation_size = 4;  // x, y, vx, vy, then ax, ay

class Maze2dPaths final : public Dataset {
 public:
  Maze2dPaths(const Maze2dPathsConfig& config, Split split) : config_(config), split_(split) {
    Require("data").at_least("horizon", config.horizon, 2);
    split_rows(0, config.held_out, split);  // a bad share is said before anything is generated
    const OfflineData all = load_maze2d(config);
    const Tensor rows = at::cat({all.observations, all.actions}, 1);  // [N, 6]
    const auto part = [&](Split of) {
      const RowRange range = split_rows(all.rows(), config.held_out, of);
      return rows.slice(0, range.begin, range.end);
    };
    const Point2 goal = to_point(task_of(config).maze().goal);
    const auto paths_of = [&](const Tensor& walk) { return maze2d_paths(walk.slice(1, 0, observation_size), goal); };
    const Tensor training = part(Split::train), walk = split == Split::train ? training : part(split);
    set_limits(training, paths_of(training));
    set_windows(paths_of(walk));
    frames_ = (walk - at::tensor(mean_, at::kFloat)) / at::tensor(std_, at::kFloat);
  }

  DataSpec spec() const override {
    DataSpec spec;
    spec.token.token_shape = {config_.horizon, frame_size};
    spec.token.frame_stack = config_.horizon;
    spec.token.condition_dim = 2 * observation_size;
    spec.tokens = 1;
    spec.mean = 0;
    spec.std = 1;
    spec.frame_mean = mean_;
    spec.frame_std = std_;
    return spec;
  }
  int64_t size() const override { return first_window_.back(); }

  Batch get(int64_t index, int64_t tokens) const override {
    if (index < 0 || index >= size())
      throw Error(fmt::format("{}: expected a window in 0 .. {}, got {}", config_.name(), size() - 1, index));
    if (tokens > 1) throw Error(fmt::format("{}: expected 1 token a sequence (a whole trajectory is one), got {}", config_.name(), tokens));
    const auto path = static_cast<size_t>(std::upper_bound(first_window_.begin(), first_window_.end(), index) - first_window_.begin() - 1);
    const Tensor window = frames_.narrow(0, paths_[path].begin + index - first_window_[path], config_.horizon);
    Batch batch;
    batch.x = window.unsqueeze(0).clone();
    batch.c = at::cat({window[0].slice(0, 0, observation_size), window[config_.horizon - 1].slice(0, 0, observation_size)}).unsqueeze(0);
    return batch;
  }

  std::string describe() const override {
    return fmt::format("maze2d_paths {} ({}): {} windows of {} frames from {} paths, the longest {} rows", config_.name(),
                       enum_name(split_), size(), config_.horizon, paths_.size(), longest_);
  }

 private:
  // Of every row of the training paths, whether or not a window fits into its path.
  void set_limits(const Tensor& walk, const std::vector<Maze2dPath>& paths) {
    check_paths(paths, Split::train);
    std::vector<Tensor> rows;
    for (const Maze2dPath& path : paths) rows.push_back(walk.slice(0, path.begin, path.end));
    const auto [lowest, highest] = at::cat(rows).to(at::kDouble).aminmax(0);
    for (int64_t d = 0; d < frame_size; ++d) {
      const double low = lowest[d].item<double>(), high = highest[d].item<double>();
      if (!(high > low))
        throw Error(fmt::format("{}: expected numbers that differ in entry {} of the frames, got {} only", config_.name(), d, low));
      mean_.push_back((high + low) / 2);
      std_.push_back((high - low) / 2);
    }
  }

  void set_windows(std::vector<Maze2dPath> paths) {
    check_paths(paths, split_);
    paths_ = std::move(paths);
    first_window_.push_back(0);
    for (const Maze2dPath& path : paths_) {
      const int64_t length = path.end - path.begin;
      longest_ = std::max(longest_, length);
      first_window_.push_back(first_window_.back() + std::max<int64_t>(0, length - config_.horizon));
    }
    if (size() == 0)
      throw Error(fmt::format("data.horizon: expected fewer than the {} rows of the longest path for {}, got {}", longest_,
                              enum_name(split_), config_.horizon));
  }

  void check_paths(const std::vector<Maze2dPath>& paths, Split split) const {
    if (paths.empty())
      throw Error(fmt::format("data.{}: expected a walk that leaves the goal of {} for {}, got one that never does",
                              split == Split::train ? "rows" : "held_out", config_.task, enum_name(split)));
  }

  Maze2dPathsConfig config_;
  Split split_;
  std::vector<double> mean_, std_;  // [6]
  Tensor frames_;                   // [rows of the split, 6] normalised
  std::vector<Maze2dPath> paths_;
  std::vector<int64_t> first_window_;  // of each path; the number of all windows at the end
  int64_t longest_ = 0;
};

}  // namespace

std::vector<Maze2dPath> maze2d_paths(const Tensor& observations, const Point2& goal) {
  std::vector<Maze2dPath> paths;
  int64_t begin = 0;
  for (const int64_t last : goal_departures(observations, goal)) {
    paths.push_back({begin, last});
    begin = last + 1;
  }
  return paths;
}

std::shared_ptr<const Dataset> make(const Maze2dPathsConfig& config, Split split) { return std::make_shared<Maze2dPaths>(config, split); }

}  // namespace df
