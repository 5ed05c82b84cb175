// SPDX-License-Identifier: MIT
// df-eval's part for the mazes: planners and controllers play a task's episodes, side by side. Header only, as app.hpp.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "app.hpp"
#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/maze2d/maze2d_environment.hpp"
#include "diffusion_forcing/maze2d/waypoint_policy.hpp"
#include "diffusion_forcing/planning/episode_pictures.hpp"
#include "diffusion_forcing/planning/episodes.hpp"
#include "diffusion_forcing/planning/random_policy.hpp"
#include "diffusion_forcing/procedures/procedures.hpp"
#include "diffusion_forcing/training/progress.hpp"

namespace df::app {

struct Maze2dEvalOptions {
  std::string task, protocol = "full";
  std::vector<std::string> policies;  // empty: the ceilings, replanning and near_optimal; {"none"}: none
  EpisodeConfig episodes;
  Maze2dEnvironmentOptions maze;
  double fps = 25.0;
  bool pictures = true;
  fs::path out;
};

struct NamedModel {
  std::string name;
  TrainedModel trained;
};

inline const std::string& choices_of_policies() {
  static const std::string all = enum_choices<WaypointKind>() + ", random";
  return all;
}

inline std::unique_ptr<Policy> controller_of(const std::string& name, const Maze2dTask& task) {
  if (name == "random") return make_random_policy(maze2d_environment_spec(task));
  for (const auto& [known, kind] : EnumNames<WaypointKind>::table)
    if (known == name) return make_waypoint_policy(task.maze(), kind);
  throw ConfigError(fmt::format("--policy: unknown policy '{}'; expected none or one of: {}", name, choices_of_policies()));
}

// A model that was trained on the walls of the task, whatever its rewards were.
inline void check_maze(const NamedModel& model, const Maze2dTask& task) {
  const Maze2dSource* data = maze2d_source(model.trained.config.data);
  if (!data)
    throw ConfigError(fmt::format("--checkpoint {}: expected a model of a maze for {}, got one of other data", model.name, task.id));
  if (maze2d_task(data->task).layout != task.layout)
    throw ConfigError(fmt::format("--checkpoint {}: expected a model of the maze of {}, got one that was trained on {}", model.name,
                                  task.id, data->task));
}

inline EpisodeReport play(Environment& environment, Policy& policy, const std::string& name, const EpisodeConfig& config) {
  const int64_t steps = config.steps > 0 ? config.steps : environment.spec().steps;
  Progress progress(name, config.episodes * steps, "steps");
  auto report = run_episodes(environment, policy, config, 8, [&](double fraction) {
    progress.update(std::llround(fraction * static_cast<double>(config.episodes * steps)));
    return !stop_flag();
  });
  progress.finish();
  report.policy = name;
  return report;
}

// The plan of episode 0's start once more, row by row: watched while it plays, a planner would be slower than it is.
inline void write_denoising(const fs::path& path, Environment& environment, const TrainedModel& trained, const EpisodeReport& report,
                            uint64_t seed, double fps) {
  std::vector<Tensor> rows;
  const auto planner = make_planner(trained, [&](int64_t, const Tensor& frames) {
    rows.push_back(frames.detach().narrow(1, 0, 2).to(at::kCPU, at::kDouble, false, true));
  });
  environment.reset(seed, 0, 1);
  planner->start(1, seed, 0);
  planner->act({environment.observe(), 0, report.steps});
  if (!rows.empty()) write_denoising_video(path, environment, at::stack(rows), report.episodes.front(), {.fps = fps});
}

inline Maze2dTask checked_task(Maze2dEvalOptions& options) try {
  options.maze.protocol = enum_value<Protocol>(options.protocol, "--protocol");
  validate(options.episodes);
  return maze2d_task(options.task);
} catch (const ConfigError&) {
  throw;
} catch (const Error& error) {
  throw ConfigError(error.what());
}

// `load` gives the trained models, once the options are known to be good. Models are columns, and the controllers beside them.
inline int eval_maze2d(Maze2dEvalOptions options, const std::function<std::vector<NamedModel>()>& load) {
  catch_signals();
  const Maze2dTask task = checked_task(options);
  if (options.policies.empty()) options.policies = {"replanning", "near_optimal"};
  if (options.policies == std::vector<std::string>{"none"}) options.policies.clear();
  for (const auto& name : options.policies) controller_of(name, task);
  auto models = load();
  if (models.empty() && options.policies.empty()) throw ConfigError("--policy: expected a policy or a --checkpoint, got none");
  for (const auto& model : models) check_maze(model, task);

  const auto environment = make_maze2d_environment(task, options.maze);
  std::vector<EpisodeReport> reports;
  for (auto& model : models) {
    model.trained.travel = load_travel_map(model.trained);
    const auto planner = make_planner(model.trained);
    spdlog::info("{}: {}", model.name, planner->describe());
    reports.push_back(play(*environment, *planner, model.name, options.episodes));
  }
  for (const auto& name : options.policies) reports.push_back(play(*environment, *controller_of(name, task), name, options.episodes));

  const auto table = episode_table(reports);
  write_atomically(options.out / "table.txt", table);
  write_atomically(options.out / "episodes.csv", episode_csv(reports));
  write_atomically(options.out / "report.json", episode_json(reports));
  fmt::print("{}\n{}\n", table, options.out.string());
  if (!options.pictures) return success;
  write_png(options.out / "mazes.png", draw_episodes(*environment, reports));
  write_closed_loop_video(options.out / "closed_loop.mp4", *environment, reports, 0, 4, {.fps = options.fps});
  if (!models.empty())
    write_denoising(options.out / "denoising.mp4", *environment, models.front().trained, reports.front(), options.episodes.seed,
                    options.fps);
  return success;
}

}  // namespace df::app
