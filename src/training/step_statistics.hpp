// SPDX-License-Identifier: MIT
// Loss and gradient norm of the steps since the last report, kept on the device: reading them is the only wait for it.
#pragma once

#include <cstdint>

#include "diffusion_forcing/core/tensor.hpp"

namespace df {

class StepStatistics {
 public:
  explicit StepStatistics(at::Device device);
  // At the end of each step, on the device (the step may be a recording); no wait. loss and norm are scalars on the device.
  void add(const Tensor& loss, const Tensor& norm);
  // After each step, on the host.
  void count() { ++steps_; }

  struct Summary {
    int64_t steps = 0;   // added since the last reset
    int64_t finite = 0;  // of them, before the first that was not finite
    double mean_loss = 0.0, mean_norm = 0.0;
    double loss = 0.0, norm = 0.0;  // of the last step, or of the first that was not finite
  };
  Summary read() const;  // waits for the device
  void reset();

 private:
  int64_t steps_ = 0;
  Tensor sums_;    // float64 [2]: loss, norm
  Tensor last_;    // float64 [2], frozen once something was not finite
  Tensor alive_;   // bool []: all were finite so far
  Tensor finite_;  // int64 []
};

}  // namespace df
