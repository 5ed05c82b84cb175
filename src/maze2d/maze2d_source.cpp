// SPDX-License-Identifier: MIT
#include "diffusion_forcing/maze2d/maze2d_source.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <cmath>
#include <cstdlib>

#include "core/require.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/maze2d/maze2d_generate.hpp"

namespace df {

namespace {

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

}  // namespace

const Maze2dTask& task_of(const Maze2dSource& source) {
  try {
    return maze2d_task(source.task);
  } catch (const Error& error) {
    throw Error(std::string("data.task: ") + error.what());
  }
}

OfflineData load_maze2d(const Maze2dSource& source) {
  const Maze2dTask& task = task_of(source);
  Require("data").at_least("rows", source.rows, 0);
  fs::path path = source.path;
  const bool generated = path.empty();
  const int64_t rows = generated && source.rows == 0 ? d4rl_rows(task) : source.rows;
  if (generated) {
    path = cache_folder(source.cache) / fmt::format("{}_rows{}_seed{}_v{}.hdf5", task.id, rows, source.seed, generator_version);
    if (!fs::exists(path)) {
      spdlog::info("{}: generating {} rows, once", path.string(), rows);
      write_d4rl(path, generate_maze2d(task, {.rows = rows, .seed = source.seed}));
    }
  }
  OfflineData data = read_d4rl(path, {.observation = 4, .action = 2, .infos = false});
  if (data.rows() < rows) throw Error(fmt::format("{}: expected at least data.rows {} rows, got {}", path.string(), rows, data.rows()));
  if (rows > 0)
    for (Tensor* tensor : {&data.observations, &data.actions, &data.rewards, &data.terminals, &data.timeouts})
      if (tensor->defined()) *tensor = tensor->slice(0, 0, rows);
  return data;
}

RowRange split_rows(int64_t rows, double held_out, Split split) {
  if (!(held_out >= 0.0 && held_out < 1.0)) throw Error(fmt::format("data.held_out: expected 0 or more and less than 1, got {}", held_out));
  const int64_t training = rows - static_cast<int64_t>(std::ceil(held_out * static_cast<double>(rows)));
  return split == Split::train ? RowRange{0, training} : RowRange{training, rows};
}

}  // namespace df
