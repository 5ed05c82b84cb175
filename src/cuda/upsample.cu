// SPDX-License-Identifier: MIT
#include "cuda/upsample.cuh"

#include "cuda/vector.cuh"

namespace df::cuda {

namespace {

constexpr int threads = 256;

// Where the vector of thread `i` goes: of the four pixels `right` and `below` each other the first.
struct Place {
  size_t small, large, right, below;

  template <class T>
  __device__ Place(int i, int width, int channels, const T*) {
    const int columns = channels / Vector<T>::size, pixel = i / columns, c = i % columns * Vector<T>::size;
    right = channels;
    below = static_cast<size_t>(2 * width) * channels;
    small = static_cast<size_t>(pixel) * channels + c;
    large = 2 * (pixel / width) * below + static_cast<size_t>(2 * (pixel % width)) * channels + c;
  }
};

template <class T>
__global__ void __launch_bounds__(threads) upsample_kernel(int vectors, int width, int channels, const T* x, T* y) {
  const int i = blockIdx.x * threads + threadIdx.x;
  if (i >= vectors) return;
  const Place at(i, width, channels, x);
  const auto packed = load_packed(x + at.small);
  store_packed(y + at.large, packed);
  store_packed(y + at.large + at.right, packed);
  store_packed(y + at.large + at.below, packed);
  store_packed(y + at.large + at.below + at.right, packed);
}

template <class T>
__global__ void __launch_bounds__(threads) upsample_backward_kernel(int vectors, int width, int channels, const T* dy, T* dx) {
  const int i = blockIdx.x * threads + threadIdx.x;
  if (i >= vectors) return;
  const Place at(i, width, channels, dy);
  const T* from = dy + at.large;
  const Vector<T> four[] = {load(from), load(from + at.right), load(from + at.below), load(from + at.below + at.right)};
  Vector<T> sum;
#pragma unroll
  for (int j = 0; j < Vector<T>::size; ++j) sum.value[j] = (four[0].value[j] + four[1].value[j]) + (four[2].value[j] + four[3].value[j]);
  store(dx + at.small, sum);
}

}  // namespace

template <class T>
void upsample(int rows, int width, int channels, const T* x, T* y, cudaStream_t stream) {
  const int vectors = rows * width * (channels / Vector<T>::size);
  upsample_kernel<T><<<(vectors + threads - 1) / threads, threads, 0, stream>>>(vectors, width, channels, x, y);
}

template <class T>
void upsample_backward(int rows, int width, int channels, const T* dy, T* dx, cudaStream_t stream) {
  const int vectors = rows * width * (channels / Vector<T>::size);
  upsample_backward_kernel<T><<<(vectors + threads - 1) / threads, threads, 0, stream>>>(vectors, width, channels, dy, dx);
}

#define DF_INSTANCES(T)                                                 \
  template void upsample<T>(int, int, int, const T*, T*, cudaStream_t); \
  template void upsample_backward<T>(int, int, int, const T*, T*, cudaStream_t);
DF_INSTANCES(float)
DF_INSTANCES(__nv_bfloat16)
#undef DF_INSTANCES

}  // namespace df::cuda
