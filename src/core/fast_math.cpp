// SPDX-License-Identifier: MIT
#include "diffusion_forcing/core/fast_math.hpp"

#include <ATen/Context.h>

#include <mutex>

namespace df {

namespace {

// LibTorch's choices are the process's, and so is the number of those who want them: the last one to go restores what the first one found.
struct Choices {
  std::mutex mutex;
  int users = 0;
  bool matmul_tf32 = false, cudnn_tf32 = false, cudnn_benchmark = false;  // before the first user
};
Choices& choices() {
  static Choices all;
  return all;
}

}  // namespace

FastMath::FastMath() {
  Choices& all = choices();
  const std::lock_guard lock(all.mutex);
  if (all.users++ > 0) return;
  auto& context = at::globalContext();
  all.matmul_tf32 = context.allowTF32CuBLAS();
  all.cudnn_tf32 = context.allowTF32CuDNN();
  all.cudnn_benchmark = context.benchmarkCuDNN();
  context.setAllowTF32CuBLAS(true);
  context.setAllowTF32CuDNN(true);
  context.setBenchmarkCuDNN(true);
}

FastMath::~FastMath() {
  Choices& all = choices();
  const std::lock_guard lock(all.mutex);
  if (--all.users > 0) return;
  auto& context = at::globalContext();
  context.setAllowTF32CuBLAS(all.matmul_tf32);
  context.setAllowTF32CuDNN(all.cudnn_tf32);
  context.setBenchmarkCuDNN(all.cudnn_benchmark);
}

}  // namespace df
