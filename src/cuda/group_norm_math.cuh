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

// Numbers of V channels that lie in shared memory, from a multiple of 16 bytes on.
template <int V>
__device__ inline void take(float (&values)[V], const float* from) {
#pragma unroll
  for (int i = 0; i < V; i += 4) {
    const float4 four = *reinterpret_cast<const float4*>(from + i);
    values[i] = four.x, values[i + 1] = four.y, values[i + 2] = four.z, values[i + 3] = four.w;
  }
}

// One instruction each, which __expf and __fdividef are not: those also care for numbers so small or large that it is all the same here.
__device__ inline float power_of_two(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ inline float reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

constexpr float log2_e = 1.44269504f;

__device__ inline float sigmoid(float u) { return reciprocal(1.0f + power_of_two(-log2_e * u)); }

// What mish(u) = u tanh(log(1 + exp(u))) = u p / (p + 1/2) is made of, p = h (h + 1) and h = exp(u) / 2. From u = 20 on tanh is 1 to
// rounding, and a larger h would overflow.
struct MishParts {
  float h, p, inverse;  // inverse: 1 / (p + 1/2)
};
__device__ inline MishParts mish_parts(float u) {
  const float h = power_of_two(fmaf(log2_e, fminf(u, 20.0f), -1.0f)), p = fmaf(h, h, h);
  return {h, p, reciprocal(p + 0.5f)};
}

template <Activation A>
__device__ inline float activated(float u) {
  if constexpr (A == Activation::mish) {
    const MishParts m = mish_parts(u);
    return u * (m.p * m.inverse);
  } else {
    return u * sigmoid(u);
  }
}
// d activated(u) / du
template <Activation A>
__device__ inline float activation_slope(float u) {
  if constexpr (A == Activation::mish) {
    const MishParts m = mish_parts(u);  // (1 - tanh^2) sigmoid = (p - h / 2) / (p + 1/2)^2
    return m.inverse * fmaf(u * m.inverse, fmaf(-0.5f, m.h, m.p), m.p);
  } else {
    const float s = sigmoid(u);
    return fmaf(s, fmaf(-u, s, u), s);
  }
}

}  // namespace df::cuda
