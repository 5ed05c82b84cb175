// SPDX-License-Identifier: MIT
// What tests on a CUDA device share. Where there is none they are skipped.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "diffusion_forcing/core/accelerator.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/fast_math.hpp"
#include "ops/image_layout.hpp"

namespace df::test {

// The CPU's side of a comparison is small: many threads would only wait for one another, at times for minutes. The device computes as it
// does for the programs.
inline const Accelerator* cuda_or_null() {
  at::set_num_threads(1);
  static const auto& fast = *new FastMath;
  (void)fast;
  try {
    return &accelerator("cuda");
  } catch (const Error&) {
    return nullptr;
  }
}

// Distance over size, in float64: what bfloat16 rounding leaves small and a wrong formula does not.
inline double relative_distance(const Tensor& a, const Tensor& b) {
  const auto x = a.detach().to(at::kCPU, at::kDouble), y = b.detach().to(at::kCPU, at::kDouble);
  return ((x - y).norm() / (y.norm() + 1e-30)).item<double>();
}

// Of the kernels that the device brings.
class KernelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    cuda_ = cuda_or_null();
    if (!cuda_) GTEST_SKIP() << "no CUDA device";
    if (!ops::fused(cuda_->device())) GTEST_SKIP() << "no kernels for " << cuda_->description();
  }
  const Accelerator* cuda_ = nullptr;
};

}  // namespace df::test
