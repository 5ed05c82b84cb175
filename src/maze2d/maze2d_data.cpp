// SPDX-License-Identifier: MIT
#include "diffusion_forcing/maze2d/maze2d_data.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "core/require.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/maze2d/maze2d_statistics.hpp"

namespace df {

namespace {

// Entries of a frame: x, y, vx, vy, ax, ay and, if asked for, the reward.
int64_t frame_size(const Maze2dDataConfig& config) { return config.reward ? 7 : 6; }

void check(const Maze2dDataConfig& config) {
  Require("data").at_least("frame_stack", config.frame_stack, 1);
  Require("data").at_least("horizon", config.horizon, 1);
  if (config.horizon % config.frame_stack != 0)
    throw Error(fmt::format("data.horizon: expected a multiple of data.frame_stack {}, got {}", config.frame_stack, config.horizon));
  const auto& std = config.action_std;
  if (!std.empty() && (std.size() != 2 || !(std[0] > 0) || !(std[1] > 0)))
    throw Error(fmt::format("data.action_std: expected two numbers above 0 or none, got {}",
                            std.size() == 2 ? "others" : std::to_string(std.size())));
}

FrameNormalizer normalizer_of(const Maze2dDataConfig& config, const Maze2dStatistics& statistics) {
  FrameNormalizer normalizer{{statistics.mean.begin(), statistics.mean.end()}, {statistics.std.begin(), statistics.std.end()}};
  normalizer.mean.insert(normalizer.mean.end(), statistics.action_mean.begin(), statistics.action_mean.end());
  normalizer.std.insert(normalizer.std.end(), statistics.action_std.begin(), statistics.action_std.end());
  for (size_t i = 0; i < config.action_std.size(); ++i) normalizer.std[4 + i] = config.action_std[i];
  if (config.reward) {
    normalizer.mean.push_back(statistics.reward_mean);
    normalizer.std.push_back(statistics.reward_std);
  }
  return normalizer;
}

class Maze2dWindows final : public Dataset {
 public:
  Maze2dWindows(const Maze2dDataConfig& config, Split split) : config_(config), split_(split) {
    check(config);
    split_rows(0, config.held_out, split);  // a bad share is said before anything is generated
    const OfflineData all = load_maze2d(config);
    const auto [begin, end] = split_rows(all.rows(), config.held_out, split);
    rows_ = end - begin;
    if (rows_ < config.horizon)
      throw Error(fmt::format("data.{}: expected at least data.horizon {} rows for {}, got {} of {}",
                              split == Split::train ? "rows" : "held_out", config.horizon, enum_name(split), rows_, all.rows()));
    set_normalizer(all, split_rows(all.rows(), config.held_out, Split::train).end);
    const Tensor observations = all.observations.slice(0, begin, end), actions = all.actions.slice(0, begin, end);
    std::vector<Tensor> entries = {at::cat({observations.slice(0, 1), at::zeros({1, 4})}), actions};
    if (config.reward) entries.push_back(at::cat({all.rewards.slice(0, begin + 1, end), at::zeros({1})}).unsqueeze(1));
    const Tensor mean = at::tensor(mean_, at::kFloat), std = at::tensor(std_, at::kFloat);
    frames_ = at::cat(entries, 1).sub_(mean).div_(std);
    first_ = (observations[0] - mean.slice(0, 0, 4)) / std.slice(0, 0, 4);
    padding_ = -mean / std;
  }

  DataSpec spec() const override {
    DataSpec spec;
    spec.token.token_shape = {config_.frame_stack * frame_size(config_)};
    spec.token.frame_stack = config_.frame_stack;
    spec.token.init_shape = {4};
    spec.tokens = config_.horizon / config_.frame_stack;
    spec.mean = 0;
    spec.std = 1;
    spec.frame_mean = mean_;
    spec.frame_std = std_;
    return spec;
  }
  int64_t size() const override { return rows_ - config_.horizon + 1; }

  Batch get(int64_t index, int64_t tokens) const override {
    if (index < 0 || index >= size()) throw Error(fmt::format("{}: expected a window in 0 .. {}, got {}", source(), size() - 1, index));
    const int64_t frames = tokens > 0 ? tokens * config_.frame_stack : config_.horizon;
    if (index + frames > rows_)
      throw Error(fmt::format("{}: window {}: expected {} rows from there on, got {}", source(), index, frames, rows_ - index));
    const Tensor window = frames_.narrow(0, index, frames).clone();
    const Tensor last = window[frames - 1];
    last.narrow(0, 0, 4).copy_(padding_.narrow(0, 0, 4));
    if (config_.reward) last.narrow(0, 6, 1).copy_(padding_.narrow(0, 6, 1));
    Batch batch;
    batch.x = window.view({frames / config_.frame_stack, config_.frame_stack * frame_size(config_)});
    batch.mask = at::ones({frames});
    batch.mask[frames - 1] = 0;
    batch.init = index == 0 ? first_ : frames_[index - 1].slice(0, 0, 4);
    return batch;
  }

  std::string describe() const override {
    return fmt::format("maze2d {} ({}): {} windows of {} frames, {} a token, from {} rows", source(), enum_name(split_), size(),
                       config_.horizon, config_.frame_stack, rows_);
  }

 private:
  std::string source() const { return config_.name(); }

  void set_normalizer(const OfflineData& all, int64_t training_rows) {
    auto normalizer = known_normalizer(config_);
    if (!normalizer) {
      OfflineData part;
      part.observations = all.observations.slice(0, 0, training_rows);
      part.actions = all.actions.slice(0, 0, training_rows);
      part.rewards = all.rewards.slice(0, 0, training_rows);
      normalizer = normalizer_of(config_, maze2d_statistics(part));
    }
    mean_ = std::move(normalizer->mean);
    std_ = std::move(normalizer->std);
    for (size_t i = 0; i < std_.size(); ++i)
      if (!(std_[i] > 0))
        throw Error(fmt::format("{}: expected numbers that differ in entry {} of the frames, got equal ones", source(), i));
  }

  Maze2dDataConfig config_;
  Split split_;
  int64_t rows_ = 0;
  std::vector<double> mean_, std_;  // [D]
  Tensor frames_;                   // [rows, D] normalised: the observation after each row, its action, the observation's reward
  Tensor first_, padding_;          // normalised: the first row's observation [4], zeros [D]
};

}  // namespace

std::optional<FrameNormalizer> known_normalizer(const Maze2dDataConfig& config) {
  if (config.normalizer != Maze2dNormalizer::published) return std::nullopt;
  const Maze2dTask& task = task_of(config);
  try {
    return normalizer_of(config, published_statistics(task.layout));
  } catch (const Error& error) {
    throw Error(std::string("data.normalizer: ") + error.what());
  }
}

std::shared_ptr<const Dataset> make(const Maze2dDataConfig& config, Split split) { return std::make_shared<Maze2dWindows>(config, split); }

}  // namespace df
