// SPDX-License-Identifier: MIT
// What the kernels of group normalisation share: the function of a channel, its slope, and where the numbers of an image lie.
#pragma once

#include "cuda/group_norm.cuh"

namespace df::cuda {

// Of image n: mean and 1 / deviation of each group; sums of each channel.
__device__ inline int stats_row(const GroupNormShape& s) { return 2 * s.groups + s.channels; }
template <class F>
__device__ inline F* moments_of(const GroupNormShape& s, F* stats, int n) {
  return stats + static_cast<size_t>(n) * stats_row(s);
}
template <class F>
__device__ inline F* sums_of(const GroupNormShape& s, F* stats, int n) {
  return moments_of(s, stats, n) + 2 * s.groups;
}

// Of one channel of one image.
struct Channel {
  float scale, shift;  // pre-activation = scale * x + shift
  float offset;        // x + offset is centred
  float inverse;       // 1 / deviation
  float gain;
};
__device__ inline Channel channel(float gain, float shift, float x_bias, float mean, float inverse) {
  const float offset = x_bias - mean;
  return {inverse * gain, offset * inverse * gain + shift, offset, inverse, gain};
}

// From sums over the pixels of a channel: of d = dy activation'(u), of d (x - mean), of dy and of x + x_bias; and from the means over its
// group of gain d and of gain d xhat. Writes the gradients of gain, shift, x_bias and residual_bias, `apart` from each other.
__device__ inline void write_gradients(const Channel& ch, float mean, float sum_d, float sum_dx, float sum_dy, float sum_x, int pixels,
                                       float mean_d, float mean_dx, float* out, size_t apart) {
  const float xhat = (sum_x - pixels * mean) * ch.inverse;
  out[0] = sum_dx * ch.inverse;
  out[apart] = sum_d;
  out[2 * apart] = ch.inverse * (ch.gain * sum_d - pixels * mean_d - xhat * mean_dx);
  out[3 * apart] = sum_dy;
}

__device__ inline float sigmoid(float u) { return __fdividef(1.0f, 1.0f + __expf(-u)); }

// What mish(u) = u tanh(log(1 + exp(u))) = u n / (n + 2) is made of, n = e (e + 2) and e = exp(u). From u = 20 on tanh is 1 to rounding,
// and a larger e would overflow.
struct MishParts {
  float e, n, inverse;  // inverse: 1 / (n + 2)
};
__device__ inline MishParts mish_parts(float u) {
  const float e = __expf(fminf(u, 20.0f)), n = e * (e + 2.0f);
  return {e, n, __fdividef(1.0f, n + 2.0f)};
}

template <Activation A>
__device__ inline float activated(float u) {
  if constexpr (A == Activation::mish) {
    const MishParts p = mish_parts(u);
    return u * (p.n * p.inverse);
  } else {
    return u * sigmoid(u);
  }
}
// d activated(u) / du
template <Activation A>
__device__ inline float activation_slope(float u) {
  if constexpr (A == Activation::mish) {
    const MishParts p = mish_parts(u);  // (1 - tanh^2) sigmoid = 4 e (1 + e) / (n + 2)^2
    return p.n * p.inverse + 4.0f * u * (p.e * p.inverse) * ((1.0f + p.e) * p.inverse);
  } else {
    const float s = sigmoid(u);
    return s * (1.0f + u * (1.0f - s));
  }
}

}  // namespace df::cuda
