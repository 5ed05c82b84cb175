// SPDX-License-Identifier: MIT
#include "cuda/image_bias.cuh"

#include "cuda/vector.cuh"

namespace df::cuda {

namespace {

constexpr int threads = 256, warps = threads / 32;

template <class T>
__global__ void __launch_bounds__(threads)
    add_bias_kernel(int vectors, int pixels, int channels, const T* x, ImageVector bias, const T* residual, T* y) {
  constexpr int V = Vector<T>::size;
  const int i = blockIdx.x * threads + threadIdx.x;
  if (i >= vectors) return;
  const int columns = channels / V, n = i / (columns * pixels), c = i % columns * V;
  const size_t at = static_cast<size_t>(i) * V;
  auto v = load(x + at);
#pragma unroll
  for (int j = 0; j < V; ++j) v.value[j] += value_of(bias, n, c + j);
  if (residual) {
    const auto r = load(residual + at);
#pragma unroll
    for (int j = 0; j < V; ++j) v.value[j] += r.value[j];
  }
  store(y + at, v);
}

// A block takes `Columns` vectors of every pixel of an image, and adds them up in a fixed order.
template <class T, int Columns>
__global__ void __launch_bounds__(threads) pixel_sums_kernel(int pixels, int channels, const T* x, float* sums) {
  constexpr int V = Vector<T>::size, width = Columns * V;
  __shared__ float scratch[warps][width];
  const int n = blockIdx.x, first = blockIdx.y * width, column = threadIdx.x % Columns;
  const T* image = x + static_cast<size_t>(n) * pixels * channels + first + column * V;
  float sum[V] = {};
  constexpr int rows = threads / Columns, ahead = 8;  // loads on their way at a time
  for (int start = threadIdx.x / Columns; start < pixels; start += rows * ahead) {
    uint4 packed[ahead];
#pragma unroll
    for (int i = 0; i < ahead; ++i) {
      const int pixel = start + i * rows;
      packed[i] = pixel < pixels ? load_packed(image + static_cast<size_t>(pixel) * channels) : uint4{};
    }
#pragma unroll
    for (int i = 0; i < ahead; ++i) {
      const auto v = unpack<T>(packed[i]);
#pragma unroll
      for (int j = 0; j < V; ++j) sum[j] += v.value[j];
    }
  }
#pragma unroll
  for (int j = 0; j < V; ++j) {
#pragma unroll
    for (int step = 16; step >= Columns; step /= 2) sum[j] += __shfl_xor_sync(0xffffffffu, sum[j], step);
    if (threadIdx.x % 32 < Columns) scratch[threadIdx.x / 32][column * V + j] = sum[j];
  }
  __syncthreads();
  if (threadIdx.x >= width) return;
  float total = 0.0f;
  for (int warp = 0; warp < warps; ++warp) total += scratch[warp][threadIdx.x];
  sums[static_cast<size_t>(n) * channels + first + threadIdx.x] = total;
}

}  // namespace

template <class T>
void add_bias(int images, int pixels, int channels, const T* x, ImageVector bias, const T* residual, T* y, cudaStream_t stream) {
  const int vectors = images * pixels * (channels / Vector<T>::size);
  add_bias_kernel<T><<<(vectors + threads - 1) / threads, threads, 0, stream>>>(vectors, pixels, channels, x, bias, residual, y);
}

template <class T>
void pixel_sums(int images, int pixels, int channels, const T* x, float* sums, cudaStream_t stream) {
  const int columns = channels / Vector<T>::size;
  if (columns % 2 == 0)
    pixel_sums_kernel<T, 2><<<dim3(images, columns / 2), threads, 0, stream>>>(pixels, channels, x, sums);
  else
    pixel_sums_kernel<T, 1><<<dim3(images, columns), threads, 0, stream>>>(pixels, channels, x, sums);
}

#define DF_INSTANCES(T)                                                                        \
  template void add_bias<T>(int, int, int, const T*, ImageVector, const T*, T*, cudaStream_t); \
  template void pixel_sums<T>(int, int, int, const T*, float*, cudaStream_t);
DF_INSTANCES(float)
DF_INSTANCES(__nv_bfloat16)
#undef DF_INSTANCES

}  // namespace df::cuda
