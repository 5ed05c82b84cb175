// SPDX-License-Identifier: MIT
// A thread takes pixels and goes through their channels: neighbours read neighbouring pixels of x0 and eps, and what lies between two
// pixels of a prediction with channels innermost is what the same thread reads next.
#include "cuda/token_error.cuh"

#include "cuda/vector.cuh"

namespace df::cuda {

namespace {

constexpr int threads = 256, most_blocks = 132 * 8;

int blocks_for(long items) {
  const long wanted = (items + threads - 1) / threads;
  return static_cast<int>(wanted < most_blocks ? wanted : most_blocks);
}

// The mix of one cell.
struct Mixed {
  const float *x0, *eps;
  float of_x0, of_eps, clip;
  __device__ Mixed(const TokenMix& mix, int cell)
      : x0(mix.x0 ? mix.x0 + static_cast<size_t>(cell) * mix.size : nullptr),
        eps(mix.eps ? mix.eps + static_cast<size_t>(cell) * mix.size : nullptr),
        of_x0(mix.of_x0[cell]),
        of_eps(mix.of_eps[cell]),
        clip(mix.clip) {}
  __device__ float operator()(int i) const {
    const float clean = x0 ? of_x0 * x0[i] : 0.0f;
    return eps ? clean + of_eps * fminf(fmaxf(eps[i], -clip), clip) : clean;
  }
};

// f(cell, its mix, element, where it lies in the images) for all that this thread has.
template <class T, class F>
__device__ void each_element(const TokenMix& mix, const CellImages<T>& images, F&& f) {
  const int channels = mix.size / images.pixels;
  const long all = static_cast<long>(mix.cells) * images.pixels;
  for (long n = blockIdx.x * static_cast<long>(threads) + threadIdx.x; n < all; n += static_cast<long>(gridDim.x) * threads) {
    const int cell = static_cast<int>(n / images.pixels), pixel = static_cast<int>(n % images.pixels);
    const Mixed mixed(mix, cell);
    size_t at = static_cast<size_t>(cell) * images.image + static_cast<size_t>(pixel) * images.pixel;
    for (int c = 0; c < channels; ++c, at += images.channel) f(cell, mixed, c * images.pixels + pixel, at);
  }
}

__global__ void __launch_bounds__(threads) mix_kernel(TokenMix mix, float* out) {
  const CellImages<float> dense{out, mix.size, mix.size, mix.size, 1};
  each_element(mix, dense, [&](int, const Mixed& mixed, int i, size_t at) { out[at] = mixed(i); });
}

template <class T>
__global__ void __launch_bounds__(threads)
    error_kernel(TokenMix mix, CellImages<T> prediction, const float* weight, int frames, float* partial) {
  const int frame = mix.size / frames;
  float sum = 0.0f;
  each_element(mix, prediction, [&](int cell, const Mixed& mixed, int i, size_t at) {
    const float error = mixed(i) - to_float(prediction.data[at]);
    sum += weight[cell * frames + i / frame] * error * error;
  });
  __shared__ float warps[threads / 32];
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x == 0) {
    float total = 0.0f;
    for (const float warp : warps) total += warp;
    partial[blockIdx.x] = total;
  }
}

template <class T>
__global__ void __launch_bounds__(threads) error_backward_kernel(TokenMix mix, CellImages<T> prediction, const float* weight, int frames,
                                                                 const float* upstream, float scale, T* gradient) {
  const int frame = mix.size / frames;
  const float factor = 2.0f * scale * *upstream;
  each_element(mix, prediction, [&](int cell, const Mixed& mixed, int i, size_t at) {
    gradient[at] = from_float<T>(factor * weight[cell * frames + i / frame] * (to_float(prediction.data[at]) - mixed(i)));
  });
}

}  // namespace

void mix_tokens(const TokenMix& mix, float* out, cudaStream_t stream) {
  mix_kernel<<<blocks_for(static_cast<long>(mix.cells) * mix.size), threads, 0, stream>>>(mix, out);
}

int error_blocks(const TokenMix& mix) { return blocks_for(static_cast<long>(mix.cells) * mix.size); }

template <class T>
void weighted_error(const TokenMix& mix, const CellImages<T>& prediction, const float* weight, int frames, float* partial,
                    cudaStream_t stream) {
  error_kernel<T><<<error_blocks(mix), threads, 0, stream>>>(mix, prediction, weight, frames, partial);
}

template <class T>
void weighted_error_backward(const TokenMix& mix, const CellImages<T>& prediction, const float* weight, int frames, const float* upstream,
                             float scale, T* gradient, cudaStream_t stream) {
  error_backward_kernel<T><<<error_blocks(mix), threads, 0, stream>>>(mix, prediction, weight, frames, upstream, scale, gradient);
}

#define DF_INSTANCE(T)                                                                                             \
  template void weighted_error<T>(const TokenMix&, const CellImages<T>&, const float*, int, float*, cudaStream_t); \
  template void weighted_error_backward<T>(const TokenMix&, const CellImages<T>&, const float*, int, const float*, float, T*, cudaStream_t);
DF_INSTANCE(float)
DF_INSTANCE(__nv_bfloat16)
#undef DF_INSTANCE

}  // namespace df::cuda
