// SPDX-License-Identifier: MIT
// Following planned positions and velocities by proportional and derivative control.
#pragma once

#include <cstdint>

#include "diffusion_forcing/core/tensor.hpp"

namespace df {

// The action p (position - position now) + d (velocity - velocity now), clipped to +- 1, towards target `step`, or the last one where there
// are fewer: targets [B, F, 4] (x, y, vx, vy), states [B, 4] -> [B, 1, 2].
Tensor tracking_action(const Tensor& targets, int64_t step, const Tensor& states, double p, double d);

class TrackedPlan {
 public:
  // targets [B, F, 4] float64: x, y, vx, vy after each step, of which the first `steps` are followed (0: all). Each step aims at the target
  // `ahead` steps after its own, or at the last one.
  TrackedPlan(Tensor targets, double p, double d, int64_t steps = 0, int64_t ahead = 0);
  bool finished() const { return next_ == steps_; }
  // The next step's action: states [B, 4] -> [B, 1, 2].
  Tensor act(const Tensor& states);

 private:
  Tensor targets_;
  double p_, d_;
  int64_t steps_, ahead_;
  int64_t next_ = 0;
};

}  // namespace df
