// SPDX-License-Identifier: MIT
// Following planned positions and velocities by proportional and derivative control.
#pragma once

#include <cstdint>

#include "diffusion_forcing/core/tensor.hpp"

namespace df {

class TrackedPlan {
 public:
  // targets [B, F, 4] float64: x, y, vx, vy after each step.
  TrackedPlan(Tensor targets, double p, double d);
  bool finished() const { return next_ == targets_.size(1); }
  // The next step's action p (position - position now) + d (velocity - velocity now), clipped to +- 1: states [B, 4] -> [B, 1, 2].
  Tensor act(const Tensor& states);

 private:
  Tensor targets_;
  double p_, d_;
  int64_t next_ = 0;
};

}  // namespace df
