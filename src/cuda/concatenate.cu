// SPDX-License-Identifier: MIT
#include "cuda/concatenate.cuh"

#include "cuda/vector.cuh"

namespace df::cuda {

namespace {

constexpr int threads = 256;

template <class T>
__global__ void __launch_bounds__(threads) concatenate_kernel(int vectors, int a_channels, int b_channels, const T* a, const T* b, T* y) {
  constexpr int V = Vector<T>::size;
  const int i = blockIdx.x * threads + threadIdx.x;
  if (i >= vectors) return;
  const int columns = (a_channels + b_channels) / V, c = i % columns * V;
  const size_t pixel = i / columns;
  store_packed(y + static_cast<size_t>(i) * V,
               load_packed(c < a_channels ? a + pixel * a_channels + c : b + pixel * b_channels + c - a_channels));
}

template <class T>
__global__ void __launch_bounds__(threads) gather_kernel(int vectors, int columns, int row, const T* x, const T* more, T* y) {
  constexpr int V = Vector<T>::size;
  const int i = blockIdx.x * threads + threadIdx.x;
  if (i >= vectors) return;
  const size_t to = static_cast<size_t>(i) * V;
  const T* from = x + static_cast<size_t>(i / columns) * row + i % columns * V;
  if (!more) {
    store_packed(y + to, load_packed(from));
    return;
  }
  auto sum = load(from);
  const auto rest = load(more + to);
#pragma unroll
  for (int j = 0; j < V; ++j) sum.value[j] += rest.value[j];
  store(y + to, sum);
}

int blocks(int vectors) { return (vectors + threads - 1) / threads; }

}  // namespace

template <class T>
void concatenate(int pixels, int a_channels, int b_channels, const T* a, const T* b, T* y, cudaStream_t stream) {
  const int vectors = pixels * ((a_channels + b_channels) / Vector<T>::size);
  concatenate_kernel<T><<<blocks(vectors), threads, 0, stream>>>(vectors, a_channels, b_channels, a, b, y);
}

template <class T>
void gather(int pixels, int channels, int row, const T* x, const T* more, T* y, cudaStream_t stream) {
  const int columns = channels / Vector<T>::size, vectors = pixels * columns;
  gather_kernel<T><<<blocks(vectors), threads, 0, stream>>>(vectors, columns, row, x, more, y);
}

#define DF_INSTANCES(T)                                                              \
  template void concatenate<T>(int, int, int, const T*, const T*, T*, cudaStream_t); \
  template void gather<T>(int, int, int, const T*, const T*, T*, cudaStream_t);
DF_INSTANCES(float)
DF_INSTANCES(__nv_bfloat16)
#undef DF_INSTANCES

}  // namespace df::cuda
