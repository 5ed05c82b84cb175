// SPDX-License-Identifier: MIT
// Exponential moving average of the weights.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "diffusion_forcing/core/tensor.hpp"

namespace df {

// Keeps a moving average beside each weight.
class Ema {
 public:
  // Starts as a copy. decay in [0, 1); early steps use min(decay, (1 + n) / (10 + n)).
  Ema(double decay, const std::vector<std::pair<std::string, Tensor>>& parameters);
  void set_step(int64_t n);  // decay of the updates that follow: that after optimiser step n (from 0)
  void update();             // to record it into a graph, call set_step() before each replay, outside of it
  void update(int64_t n);    // set_step, then update
  const std::vector<std::pair<std::string, Tensor>>& shadow() const { return shadow_; }
  // Exchanges weights and averages in place: call twice around an evaluation.
  void swap();

 private:
  double decay_;
  std::vector<std::pair<std::string, Tensor>> parameters_, shadow_;
  Tensor weight_;  // 1 - decay, a scalar on the parameters' device
  double host_weight_ = 1.0;
};

}  // namespace df
