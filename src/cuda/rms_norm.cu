// SPDX-License-Identifier: MIT
// A group of lanes (a power of two, at most a warp) holds one pixel.
#include "cuda/rms_norm.cuh"

#include <type_traits>

#include "cuda/vector.cuh"

namespace df::cuda {

namespace {

constexpr int threads = 256;

template <int Lanes>
__device__ inline float lane_sum(float value) {
#pragma unroll
  for (int step = Lanes / 2; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step, Lanes);
  return value;
}

// Lane `lane` of a pixel holds vectors lane, lane + Lanes, ... (Parts of them).
template <class T, int Lanes, int Parts>
struct Pixel {
  static constexpr int V = Vector<T>::size;
  Vector<T> part[Parts];

  __device__ static bool inside(int lane, int k, int channels) { return (lane + k * Lanes) * V < channels; }
  __device__ void read(const T* row, int lane, int channels) {
#pragma unroll
    for (int k = 0; k < Parts; ++k) {
      if (inside(lane, k, channels)) {
        part[k] = load(row + (lane + k * Lanes) * V);
      } else {
#pragma unroll
        for (int i = 0; i < V; ++i) part[k].value[i] = 0.0f;
      }
    }
  }
  __device__ void read(const float* row, int lane, int channels, float missing) {
#pragma unroll
    for (int k = 0; k < Parts; ++k)
#pragma unroll
      for (int i = 0; i < V; ++i) part[k].value[i] = row && inside(lane, k, channels) ? row[(lane + k * Lanes) * V + i] : missing;
  }
  __device__ void write(T* row, int lane, int channels) const {
#pragma unroll
    for (int k = 0; k < Parts; ++k)
      if (inside(lane, k, channels)) store(row + (lane + k * Lanes) * V, part[k]);
  }
  template <class F>
  __device__ void each(F&& f) {
#pragma unroll
    for (int k = 0; k < Parts; ++k)
#pragma unroll
      for (int i = 0; i < V; ++i) f(k, i, part[k].value[i]);
  }
};

template <class T, int Lanes, int Parts>
__global__ void __launch_bounds__(threads)
    forward_kernel(int pixels, int channels, const T* x, const float* x_bias, const float* g, const T* residual, T* y) {
  using P = Pixel<T, Lanes, Parts>;
  const int lane = threadIdx.x % Lanes, groups = threads / Lanes;
  P gain, bias;
  gain.read(g, lane, channels, 0.0f);
  bias.read(x_bias, lane, channels, 0.0f);
  const float root = sqrtf(static_cast<float>(channels));
  // All lanes of a warp stay in the loop: a shuffle needs them.
  for (int first = blockIdx.x * groups; first < pixels; first += gridDim.x * groups) {
    const int pixel = first + threadIdx.x / Lanes;
    const bool real = pixel < pixels;
    const size_t at = static_cast<size_t>(real ? pixel : 0) * channels;
    P v;
    v.read(x + at, lane, channels);
    float squares = 0.0f;
    v.each([&](int k, int i, float& value) {
      value += bias.part[k].value[i];
      squares += value * value;
    });
    const float inverse = root / fmaxf(sqrtf(lane_sum<Lanes>(squares)), 1e-12f);
    v.each([&](int k, int i, float& value) { value *= inverse * gain.part[k].value[i]; });
    if (residual) {
      P r;
      r.read(residual + at, lane, channels);
      v.each([&](int k, int i, float& value) { value += r.part[k].value[i]; });
    }
    if (real) v.write(y + at, lane, channels);
  }
}

template <class T, int Lanes, int Parts>
__global__ void __launch_bounds__(threads)
    backward_kernel(int pixels, int channels, const T* x, const float* x_bias, const float* g, const T* dy, T* dx, float* partial) {
  using P = Pixel<T, Lanes, Parts>;
  __shared__ float scratch[threads * P::V];
  const int lane = threadIdx.x % Lanes, groups = threads / Lanes;
  P gain, bias, dg, db;
  gain.read(g, lane, channels, 0.0f);
  bias.read(x_bias, lane, channels, 0.0f);
  dg.read(static_cast<const float*>(nullptr), lane, channels, 0.0f);
  db.read(static_cast<const float*>(nullptr), lane, channels, 0.0f);
  const float root = sqrtf(static_cast<float>(channels));
  for (int first = blockIdx.x * groups; first < pixels; first += gridDim.x * groups) {
    const int pixel = first + threadIdx.x / Lanes;
    const bool real = pixel < pixels;
    const size_t at = static_cast<size_t>(real ? pixel : 0) * channels;
    P v, d;
    v.read(x + at, lane, channels);
    d.read(dy + at, lane, channels);
    float squares = 0.0f, along = 0.0f;
    v.each([&](int k, int i, float& value) {
      value += bias.part[k].value[i];
      squares += value * value;
      along += value * gain.part[k].value[i] * d.part[k].value[i];
    });
    squares = fmaxf(lane_sum<Lanes>(squares), 1e-24f);
    along = lane_sum<Lanes>(along) / squares;
    const float inverse = real ? root * rsqrtf(squares) : 0.0f;
    v.each([&](int k, int i, float& value) {
      const float upstream = d.part[k].value[i];
      dg.part[k].value[i] += upstream * value * inverse;
      value = inverse * (gain.part[k].value[i] * upstream - value * along);
      db.part[k].value[i] += value;
    });
    if (real) v.write(dx + at, lane, channels);
  }
  const auto reduce = [&](P& sums, float* out) {
#pragma unroll
    for (int k = 0; k < Parts; ++k) {
#pragma unroll
      for (int i = 0; i < P::V; ++i) scratch[threadIdx.x * P::V + i] = sums.part[k].value[i];
      __syncthreads();
      for (int c = threadIdx.x; c < Lanes * P::V; c += threads) {
        float sum = 0.0f;
        for (int group = 0; group < groups; ++group) sum += scratch[group * Lanes * P::V + c];
        if (k * Lanes * P::V + c < channels) out[k * Lanes * P::V + c] = sum;
      }
      __syncthreads();
    }
  };
  reduce(dg, partial + blockIdx.x * 2 * channels);
  reduce(db, partial + (blockIdx.x * 2 + 1) * channels);
}

// Calls f with the lanes of a pixel and the vectors of a lane as compile-time numbers.
template <class T, class F>
void with_lanes(int channels, F&& f) {
  const int vectors = channels / Vector<T>::size;
  using std::integral_constant;
  if (vectors <= 4) return f(integral_constant<int, 4>(), integral_constant<int, 1>());
  if (vectors <= 8) return f(integral_constant<int, 8>(), integral_constant<int, 1>());
  if (vectors <= 16) return f(integral_constant<int, 16>(), integral_constant<int, 1>());
  if (vectors <= 32) return f(integral_constant<int, 32>(), integral_constant<int, 1>());
  if (vectors <= 64) return f(integral_constant<int, 32>(), integral_constant<int, 2>());
  return f(integral_constant<int, 32>(), integral_constant<int, 4>());
}

}  // namespace

template <class T>
void rms_norm(int pixels, int channels, const T* x, const float* x_bias, const float* g, const T* residual, T* y, cudaStream_t stream) {
  with_lanes<T>(channels, [&](auto lanes, auto parts) {
    const int groups = threads / lanes, wanted = (pixels + groups - 1) / groups, blocks = wanted < 132 * 16 ? wanted : 132 * 16;
    forward_kernel<T, lanes(), parts()><<<blocks, threads, 0, stream>>>(pixels, channels, x, x_bias, g, residual, y);
  });
}

template <class T>
void rms_norm_backward(int pixels, int channels, int blocks, const T* x, const float* x_bias, const float* g, const T* dy, T* dx, float* partial,
                       cudaStream_t stream) {
  with_lanes<T>(channels, [&](auto lanes, auto parts) {
    backward_kernel<T, lanes(), parts()><<<blocks, threads, 0, stream>>>(pixels, channels, x, x_bias, g, dy, dx, partial);
  });
}

template void rms_norm<float>(int, int, const float*, const float*, const float*, const float*, float*, cudaStream_t);
template void rms_norm<__nv_bfloat16>(int, int, const __nv_bfloat16*, const float*, const float*, const __nv_bfloat16*, __nv_bfloat16*,
                                      cudaStream_t);
template void rms_norm_backward<float>(int, int, int, const float*, const float*, const float*, const float*, float*, float*, cudaStream_t);
template void rms_norm_backward<__nv_bfloat16>(int, int, int, const __nv_bfloat16*, const float*, const float*, const __nv_bfloat16*,
                                               __nv_bfloat16*, float*, cudaStream_t);

}  // namespace df::cuda
