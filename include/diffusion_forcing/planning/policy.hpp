// SPDX-License-Identifier: MIT
// What acts in worlds: planners, controllers, rivals. Many worlds at once.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "diffusion_forcing/core/tensor.hpp"
#include "diffusion_forcing/planning/environment.hpp"

namespace df {

// What a policy is asked about: where B worlds stand now.
struct Situation {
  Observation now;
  int64_t step = 0;                       // since the episode's start
  int64_t steps_left = 0;                 // of the episode, at least 1
  std::vector<Observation> earlier = {};  // of the control steps before, the oldest first: as many as Policy::earlier() asks for, or
                                          // all since the episode's start
};

// What it answers.
struct Decision {
  Tensor actions;                 // [B, n, A] floating point, CPU: executed one after the other before the policy is asked again; n >= 1
  Trajectory plan;                // where one was made in this call: from the situation on
  double planning_seconds = 0.0;  // spent on it
};

// Anything that chooses actions for a batch of worlds.
class Policy {
 public:
  virtual ~Policy() = default;
  // Episodes start in `worlds` worlds, numbers first_world .. first_world + worlds - 1 of an evaluation: everything random in world i
  // follows from (seed, i), whatever the size of the batch.
  virtual void start(int64_t worlds, uint64_t seed, int64_t first_world) = 0;
  // Throws df::Error where the number of worlds changed since start().
  virtual Decision act(const Situation& situation) = 0;
  virtual std::string describe() const = 0;  // one line for tables
  // Observations of earlier control steps that the policy wants to see beside the present one.
  virtual int64_t earlier() const { return 0; }
};

}  // namespace df
