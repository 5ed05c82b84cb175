// SPDX-License-Identifier: MIT
// The exact GELU, x Phi(x), and its derivative.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

namespace df::cuda {

// Phi(x) and the density of the standard normal distribution. For bfloat16 results the error function is Abramowitz and Stegun's 7.1.26
// (absolute error 1.5e-7), whose exponential is also the density's.
template <class T>
struct Normal {
  float distribution, density;
  __device__ explicit Normal(float x) {
    density = 0.3989422804f * __expf(-0.5f * x * x);
    distribution = 0.5f * (1.0f + erff(0.7071067812f * x));
  }
};
template <>
struct Normal<__nv_bfloat16> {
  float distribution, density;
  __device__ explicit Normal(float x) {
    const float e = __expf(-0.5f * x * x), t = __fdividef(1.0f, 1.0f + 0.3275911f * 0.7071067812f * fabsf(x));
    const float tail = 0.5f * e * t * (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
    density = 0.3989422804f * e;
    distribution = x >= 0.0f ? 1.0f - tail : tail;
  }
};

template <class T>
__device__ inline float gelu(float x) {
  return x * Normal<T>(x).distribution;
}
template <class T>
__device__ inline float gelu_slope(float x) {
  const Normal<T> normal(x);
  return normal.distribution + x * normal.density;
}

}  // namespace df::cuda
