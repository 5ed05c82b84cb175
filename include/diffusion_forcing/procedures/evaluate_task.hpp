// SPDX-License-Identifier: MIT
// Planners and controllers play the episodes of a task, side by side: what df-eval --task does.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "diffusion_forcing/planning/episodes.hpp"
#include "diffusion_forcing/planning/task_family.hpp"
#include "diffusion_forcing/procedures/procedures.hpp"

namespace df {

// A planner of a table.
struct NamedModel {
  std::string name;  // heads its column
  TrainedModel trained;
};

// What is played, by whom, and what is written about it.
struct TaskEvaluation {
  std::string task;  // its id
  TaskOptions options;
  std::vector<std::string> policies;  // controllers of the task's family, or `random`; empty: the usual ones; {"none"}: none
  EpisodeConfig episodes;
  std::optional<double> fps;   // of videos; absent: such that they are about 25 frames a second, in real time
  bool pictures = true;        // else tables alone, which need no OpenCV
  std::filesystem::path out;   // folder of the results
  std::string command;         // what was typed, for the page
  std::function<bool()> stop;  // asked after each decision: whether to stop
};

// Tasks that can be played: the families of `config/types.hpp` and what they know.
std::vector<std::string> task_ids();
// "replanning, stale, near_optimal, random"
std::string task_policies();

// Writes index.html (a page of all that follows), table.txt, episodes.csv, report.json and, with pictures, a picture of the first eight
// episodes of each column, closed_loop.mp4 (episode 0) and, where there is a planner, denoising.mp4. `load` gives the trained models, once
// the options are known to be good. Returns the table. Throws ConfigError naming an option of df-eval.
std::string evaluate_task(TaskEvaluation evaluation, const std::function<std::vector<NamedModel>()>& load);

}  // namespace df
