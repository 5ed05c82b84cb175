// SPDX-License-Identifier: MIT
#include "maze2d/tracking.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

namespace df {

Tensor tracking_action(const Tensor& targets, int64_t step, const Tensor& states, double p, double d) {
  const Tensor error = targets.select(1, std::min(step, targets.size(1) - 1)) - states;
  return (p * error.narrow(1, 0, 2) + d * error.narrow(1, 2, 2)).clamp(-1, 1).unsqueeze(1);
}

TrackedPlan::TrackedPlan(Tensor targets, double p, double d, int64_t steps, int64_t ahead)
    : targets_(std::move(targets)), p_(p), d_(d), steps_(steps > 0 ? steps : targets_.size(1)), ahead_(ahead) {}

Tensor TrackedPlan::act(const Tensor& states) { return tracking_action(targets_, next_++ + ahead_, states, p_, d_); }

}  // namespace df
