// SPDX-License-Identifier: MIT
// A thread moves a vector of 16 bytes.
#include "cuda/memory_tokens.cuh"
#include "cuda/vector.cuh"

namespace df::cuda {

namespace {

constexpr int threads = 256;

// Element of memory [2][heads][M][C]: channel `at` of all heads' of token j.
__device__ inline size_t in_memory(const MemoryTokensShape& s, int part, int j, int at) {
  return (static_cast<size_t>(part * s.heads + at / s.channels) * s.memories + j) * s.channels + at % s.channels;
}

template <class T>
__global__ void __launch_bounds__(threads)
    with_memory_kernel(int vectors, MemoryTokensShape s, const T* qkv, const float* memory, int memory_row, T* kv) {
  constexpr int V = Vector<T>::size;
  const int i = blockIdx.x * threads + threadIdx.x;
  if (i >= vectors) return;
  const int width = s.heads * s.channels, columns = width / V, tokens = s.memories + s.pixels;
  const int at = i % columns * V, j = i / columns % tokens, n = i / columns / tokens % s.images, part = i / columns / tokens / s.images;
  T* to = kv + static_cast<size_t>(i) * V;
  if (j >= s.memories) {
    const size_t pixel = static_cast<size_t>(n) * s.pixels + j - s.memories;
    store_packed(to, load_packed(qkv + (3 * pixel + 1 + part) * width + at));
    return;
  }
  const float* from = memory + static_cast<size_t>(n) * memory_row + in_memory(s, part, j, at);
  Vector<T> v;
#pragma unroll
  for (int c = 0; c < V; ++c) v.value[c] = from[c];
  store(to, v);
}

template <class T>
__global__ void __launch_bounds__(threads)
    with_memory_backward_kernel(int vectors, MemoryTokensShape s, const T* dq, const T* dk, const T* dv, T* dqkv, float* dmemory) {
  constexpr int V = Vector<T>::size;
  const int i = blockIdx.x * threads + threadIdx.x;
  if (i >= vectors) return;
  const int width = s.heads * s.channels, columns = width / V, tokens = s.memories + s.pixels;
  const int at = i % columns * V, part = i / columns % 3, j = i / columns / 3 % tokens, n = i / columns / 3 / tokens;
  const size_t token = static_cast<size_t>(n) * tokens + j, pixel = static_cast<size_t>(n) * s.pixels + j - s.memories;
  const T* given = part == 1 ? dk : dv;
  if (j >= s.memories) {
    store_packed(dqkv + (3 * pixel + part) * width + at, load_packed(part == 0 ? dq + pixel * width + at : given + token * width + at));
  } else if (part > 0) {
    const auto v = load(given + token * width + at);
    float* to = dmemory + static_cast<size_t>(n) * 2 * width * s.memories + in_memory(s, part - 1, j, at);
#pragma unroll
    for (int c = 0; c < V; ++c) to[c] = v.value[c];
  }
}

int blocks(int vectors) { return (vectors + threads - 1) / threads; }

}  // namespace

template <class T>
void with_memory(const MemoryTokensShape& s, const T* qkv, const float* memory, int row, T* kv, cudaStream_t stream) {
  const int vectors = 2 * s.images * (s.memories + s.pixels) * (s.heads * s.channels / Vector<T>::size);
  with_memory_kernel<T><<<blocks(vectors), threads, 0, stream>>>(vectors, s, qkv, memory, row, kv);
}

template <class T>
void with_memory_backward(const MemoryTokensShape& s, const T* dq, const T* dk, const T* dv, T* dqkv, float* dmemory, cudaStream_t stream) {
  const int vectors = 3 * s.images * (s.memories + s.pixels) * (s.heads * s.channels / Vector<T>::size);
  with_memory_backward_kernel<T><<<blocks(vectors), threads, 0, stream>>>(vectors, s, dq, dk, dv, dqkv, dmemory);
}

#define DF_INSTANCES(T)                                                                                  \
  template void with_memory<T>(const MemoryTokensShape&, const T*, const float*, int, T*, cudaStream_t); \
  template void with_memory_backward<T>(const MemoryTokensShape&, const T*, const T*, const T*, T*, float*, cudaStream_t);
DF_INSTANCES(float)
DF_INSTANCES(__nv_bfloat16)
#undef DF_INSTANCES

}  // namespace df::cuda
