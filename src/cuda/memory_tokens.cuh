// SPDX-License-Identifier: MIT
// Keys and values of attention together with those of learned memory tokens, on raw memory.
#pragma once

#include <cuda_runtime.h>

namespace df::cuda {

struct MemoryTokensShape {
  int images, pixels, memories, heads, channels;  // channels of a head, divisible by 8
};

// kv [2][N][M + P][heads][C]: those of the memory, then those of qkv [N][P][3][heads][C]. memory [2][heads][M][C] of each image, `row`
// elements apart.
template <class T>
void with_memory(const MemoryTokensShape& shape, const T* qkv, const float* memory, int row, T* kv, cudaStream_t stream);

// From dq [N][P][heads][C], dk and dv [N][M + P][heads][C]: dqkv, and dmemory [N][2][heads][M][C].
template <class T>
void with_memory_backward(const MemoryTokensShape& shape, const T* dq, const T* dk, const T* dv, T* dqkv, float* dmemory,
                          cudaStream_t stream);

}  // namespace df::cuda
