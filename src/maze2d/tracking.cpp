// SPDX-License-Identifier: MIT
#include "maze2d/tracking.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

namespace df {

TrackedPlan::TrackedPlan(Tensor targets, double p, double d, int64_t steps, int64_t ahead)
    : targets_(std::move(targets)), p_(p), d_(d), steps_(steps > 0 ? steps : targets_.size(1)), ahead_(ahead) {}

Tensor TrackedPlan::act(const Tensor& states) {
  const Tensor error = targets_.select(1, std::min(next_++ + ahead_, targets_.size(1) - 1)) - states;
  return (p_ * error.narrow(1, 0, 2) + d_ * error.narrow(1, 2, 2)).clamp(-1, 1).unsqueeze(1);
}

}  // namespace df
