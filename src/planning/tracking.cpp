// SPDX-License-Identifier: MIT
#include "planning/tracking.hpp"

#include <ATen/ATen.h>

#include <utility>

namespace df {

TrackedPlan::TrackedPlan(Tensor targets, double p, double d) : targets_(std::move(targets)), p_(p), d_(d) {}

Tensor TrackedPlan::act(const Tensor& states) {
  const Tensor error = targets_.select(1, next_++) - states;
  return (p_ * error.narrow(1, 0, 2) + d_ * error.narrow(1, 2, 2)).clamp(-1, 1).unsqueeze(1);
}

}  // namespace df
