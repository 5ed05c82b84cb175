// SPDX-License-Identifier: MIT
// Episodes of maze2d tasks, as tests play them.
#pragma once

#include <cmath>

#include "diffusion_forcing/maze2d/maze2d_environment.hpp"
#include "diffusion_forcing/planning/episodes.hpp"

namespace df::test {

inline EpisodeReport play(const Maze2dTask& task, Policy& policy, const EpisodeConfig& config, const Maze2dEnvironmentOptions& maze = {},
                          int64_t recorded = 8, const EpisodeProgress& progress = {}) {
  const auto environment = make_maze2d_environment(task, maze);
  return run_episodes(*environment, policy, config, recorded, progress);
}

inline double raw(const Episode& episode) { return episode.outcome.at(0); }
inline double normalized(const Episode& episode) { return episode.outcome.at(1); }
inline int64_t first_reach(const Episode& episode) { return std::isnan(episode.outcome.at(2)) ? -1 : std::llround(episode.outcome[2]); }

}  // namespace df::test
