// SPDX-License-Identifier: MIT
// D4RL's maze2d tasks by id: layout, reward, length of an episode, reference scores.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "diffusion_forcing/maze2d/maze2d_layout.hpp"

namespace df {

// One of D4RL's tasks: a maze, its reward, its steps and its reference scores.
struct Maze2dTask {
  std::string id;  // maze2d-umaze-v1
  std::string layout;
  bool dense = false;                           // reward exp(-distance) instead of 1 within 0.5 of the goal
  int64_t max_steps = 0;                        // of an episode; nothing else ends one
  double reference_min = 0, reference_max = 1;  // returns of D4RL's random and waypoint policies

  const Maze2dLayout& maze() const { return maze2d_layout(layout); }
};

// 0: D4RL's random policy, 1: its waypoint controller, which is stuck in walls half of the time: 1 is no ceiling. Papers print 100 times
// this.
double normalized_score(const Maze2dTask& task, double episode_return);

// Throws df::Error listing the known ids.
const Maze2dTask& maze2d_task(std::string_view id);
// All tasks that D4RL has.
const std::vector<Maze2dTask>& maze2d_tasks();

}  // namespace df
