// SPDX-License-Identifier: MIT
#include "diffusion_forcing/data/maze2d_data.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <cmath>
#include <cstdlib>

#include "data/clip_checks.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/data/maze2d_generate.hpp"
#include "diffusion_forcing/data/maze2d_statistics.hpp"

namespace df {

namespace {

constexpr int64_t frame_size = 6;     // x, y, vx, vy, ax, ay
constexpr int generator_version = 1;  // of what generate_maze2d() makes of a seed: part of the name in the cache

fs::path cache_folder(const std::string& configured) {
  if (!configured.empty()) return configured;
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return fs::path(value ? value : "");
  };
  if (const fs::path folder = variable("XDG_CACHE_HOME"); !folder.empty()) return folder / "diffusion_forcing";
  if (const fs::path home = variable("HOME"); !home.empty()) return home / ".cache" / "diffusion_forcing";
  throw Error("data.cache: expected a folder for generated data where neither XDG_CACHE_HOME nor HOME is set, got nothing");
}

const Maze2dTask& find_task(const Maze2dDataConfig& config) {
  try {
    return maze2d_task(config.task);
  } catch (const Error& error) {
    throw Error(std::string("data.task: ") + error.what());
  }
}

void check(const Maze2dDataConfig& config) {
  data::check_at_least(config.frame_stack, 1, "frame_stack");
  data::check_at_least(config.horizon, 1, "horizon");
  data::check_at_least(config.rows, 0, "rows");
  if (config.horizon % config.frame_stack != 0)
    throw Error(fmt::format("data.horizon: expected a multiple of data.frame_stack {}, got {}", config.frame_stack, config.horizon));
  if (!(config.held_out >= 0.0 && config.held_out < 1.0))
    throw Error(fmt::format("data.held_out: expected 0 or more and less than 1, got {}", config.held_out));
  const auto& std = config.action_std;
  if (!std.empty() && (std.size() != 2 || !(std[0] > 0) || !(std[1] > 0)))
    throw Error(fmt::format("data.action_std: expected two numbers above 0 or none, got {}",
                            std.size() == 2 ? "others" : std::to_string(std.size())));
}

class Maze2dWindows final : public Dataset {
 public:
  Maze2dWindows(const Maze2dDataConfig& config, Split split) : config_(config), split_(split) {
    check(config);
    const OfflineData all = load_maze2d(config);
    const auto held_out = static_cast<int64_t>(std::ceil(config.held_out * static_cast<double>(all.rows())));
    const int64_t begin = split == Split::train ? 0 : all.rows() - held_out,
                  end = split == Split::train ? all.rows() - held_out : all.rows();
    rows_ = end - begin;
    if (rows_ < config.horizon)
      throw Error(fmt::format("data.{}: expected at least data.horizon {} rows for {}, got {} of {}",
                              split == Split::train ? "rows" : "held_out", config.horizon, enum_name(split), rows_, all.rows()));
    set_normalizer(all, all.rows() - held_out);
    const Tensor observations = all.observations.slice(0, begin, end), actions = all.actions.slice(0, begin, end);
    const Tensor after = at::cat({observations.slice(0, 1), at::zeros({1, 4})});
    const Tensor mean = at::tensor(mean_, at::kFloat), std = at::tensor(std_, at::kFloat);
    frames_ = at::cat({after, actions}, 1).sub_(mean).div_(std);
    first_ = (observations[0] - mean.slice(0, 0, 4)) / std.slice(0, 0, 4);
    padding_ = -mean.slice(0, 0, 4) / std.slice(0, 0, 4);
  }

  DataSpec spec() const override {
    DataSpec spec;
    spec.token.token_shape = {config_.frame_stack * frame_size};
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
    window[frames - 1].narrow(0, 0, 4).copy_(padding_);
    Batch batch;
    batch.x = window.view({frames / config_.frame_stack, config_.frame_stack * frame_size});
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
  std::string source() const { return config_.path.empty() ? config_.task : config_.path; }

  void set_normalizer(const OfflineData& all, int64_t training_rows) {
    Maze2dStatistics statistics;
    if (config_.normalizer == Maze2dNormalizer::published) {
      try {
        statistics = published_statistics(find_task(config_).layout);
      } catch (const Error& error) {
        throw Error(std::string("data.normalizer: ") + error.what());
      }
    } else {
      OfflineData part;
      part.observations = all.observations.slice(0, 0, training_rows);
      part.actions = all.actions.slice(0, 0, training_rows);
      part.rewards = all.rewards.slice(0, 0, training_rows);
      statistics = maze2d_statistics(part);
    }
    mean_.assign(statistics.mean.begin(), statistics.mean.end());
    mean_.insert(mean_.end(), statistics.action_mean.begin(), statistics.action_mean.end());
    std_.assign(statistics.std.begin(), statistics.std.end());
    std_.insert(std_.end(), statistics.action_std.begin(), statistics.action_std.end());
    for (size_t i = 0; i < config_.action_std.size(); ++i) std_[4 + i] = config_.action_std[i];
    for (size_t i = 0; i < std_.size(); ++i)
      if (!(std_[i] > 0))
        throw Error(fmt::format("{}: expected numbers that differ in entry {} of the frames, got equal ones", source(), i));
  }

  Maze2dDataConfig config_;
  Split split_;
  int64_t rows_ = 0;
  std::vector<double> mean_, std_;  // [6]
  Tensor frames_;                   // [rows, 6] normalised: the observation after each row, its action
  Tensor first_, padding_;          // [4] normalised: the first row's observation, zeros
};

}  // namespace

OfflineData load_maze2d(const Maze2dDataConfig& config) {
  const Maze2dTask& task = find_task(config);
  fs::path path = config.path;
  const bool generated = path.empty();
  const int64_t rows = generated && config.rows == 0 ? d4rl_rows(task) : config.rows;
  if (generated) {
    path = cache_folder(config.cache) / fmt::format("{}_rows{}_seed{}_v{}.hdf5", task.id, rows, config.seed, generator_version);
    if (!fs::exists(path)) {
      spdlog::info("{}: generating {} rows, once", path.string(), rows);
      write_d4rl(path, generate_maze2d(task, {.rows = rows, .seed = config.seed}));
    }
  }
  OfflineData data = read_d4rl(path, {.observation = 4, .action = 2, .infos = false});
  if (data.rows() < rows) throw Error(fmt::format("{}: expected at least data.rows {} rows, got {}", path.string(), rows, data.rows()));
  if (rows > 0)
    for (Tensor* tensor : {&data.observations, &data.actions, &data.rewards, &data.terminals, &data.timeouts})
      if (tensor->defined()) *tensor = tensor->slice(0, 0, rows);
  return data;
}

std::shared_ptr<const Dataset> make(const Maze2dDataConfig& config, Split split) { return std::make_shared<Maze2dWindows>(config, split); }

}  // namespace df
