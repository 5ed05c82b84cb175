// SPDX-License-Identifier: MIT
// What images have one of for each channel.
#pragma once

#include <cuda_runtime.h>

namespace df::cuda {

// A number for each channel of each image, [N][C] with rows `stride` apart. Null: absent.
struct ImageVector {
  const float* data;
  int stride;
};

__device__ inline const float* row_of(const ImageVector& vector, int n) {
  return vector.data ? vector.data + static_cast<size_t>(n) * vector.stride : nullptr;
}
__device__ inline float value_of(const ImageVector& vector, int n, int c) {
  return vector.data ? vector.data[static_cast<size_t>(n) * vector.stride + c] : 0.0f;
}

}  // namespace df::cuda
