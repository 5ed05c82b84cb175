// SPDX-License-Identifier: MIT
// What acts in the mazes: planners, controllers, rivals. Many worlds at once.
#pragma once

#include <cstdint>
#include <string>

#include "diffusion_forcing/core/tensor.hpp"

namespace df {

// A plan in raw units: metres, metres a second. Undefined tensors: no plan.
struct Trajectory {
  Tensor observations;  // [B, F, 4] x, y, vx, vy after each of the actions
  Tensor actions;       // [B, F, 2]
};

struct Situation {
  Tensor states;           // [B, 4] float64, CPU
  Tensor goals;            // [B, 2] float64, CPU
  int64_t step = 0;        // since the episode's start
  int64_t steps_left = 0;  // of the episode, at least 1
};

struct Decision {
  Tensor actions;                 // [B, n, 2] float64, CPU: executed one after the other before the policy is asked again; n >= 1
  Trajectory plan;                // where one was made in this call: from the situation on
  double planning_seconds = 0.0;  // spent on it
};

class Policy {
 public:
  virtual ~Policy() = default;
  // Episodes start in `worlds` worlds, numbers first_world .. first_world + worlds - 1 of an evaluation: everything random in world i
  // follows from (seed, i), whatever the size of the batch.
  virtual void start(int64_t worlds, uint64_t seed, int64_t first_world) = 0;
  // Throws df::Error where the number of worlds changed since start().
  virtual Decision act(const Situation& situation) = 0;
  virtual std::string describe() const = 0;  // one line for tables
};

}  // namespace df
