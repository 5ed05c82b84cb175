// SPDX-License-Identifier: MIT
// Group normalisation with what follows it, on raw memory. All float pointers are float32 on the device.
#pragma once

#include <cuda_runtime.h>

namespace df::cuda {

struct GroupNormShape {
  int images, pixels, channels, groups;
  float eps;
  int chunks, chunk;  // pixels of an image are worked on in `chunks` parts of `chunk`
};

struct GroupNormParameters {
  const float* x_bias;  // [C] or null
  const float* weight;  // [C]
  const float* bias;    // [C]
  const float* modulation;  // [N][2 C] with rows `modulation_stride` apart, or null
  int modulation_stride;
};

// partial: scratch [N][chunks][2][C]; stats: out [N][G][2].
template <class T>
void group_norm(const GroupNormShape& shape, const GroupNormParameters& parameters, const T* x, const T* residual, float* partial, float* stats,
                T* y, cudaStream_t stream);

// partial: scratch [N][chunks][3][C]; dmodulation: out [N][2 C] or null; dchannels: out [N][3][C], gradients of weight, bias and x_bias by image.
template <class T>
void group_norm_backward(const GroupNormShape& shape, const GroupNormParameters& parameters, const T* x, const T* dy, const float* stats,
                         float* partial, T* dx, float* dmodulation, float* dchannels, cudaStream_t stream);

}  // namespace df::cuda
