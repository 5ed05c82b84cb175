// SPDX-License-Identifier: MIT
// Group normalisation with what follows it, on raw memory. All float pointers are float32 on the device.
#pragma once

#include "cuda/image_vector.cuh"
#include "ops/activation.hpp"

namespace df::cuda {

struct GroupNormShape {
  int images, pixels, channels, groups;
  float eps;
  int chunks, chunk;  // pixels of an image are worked on in `chunks` parts of `chunk`
};

struct GroupNormParameters {
  ImageVector gain, shift;            // present
  ImageVector x_bias, residual_bias;  // zero where absent
};

// Two kernels each way, for images of any size.
// partial: scratch [N][chunks][2][C]; stats: out [N][2 G + C], mean and 1 / deviation of each group, then the sum of each channel.
template <class T, Activation A>
void group_norm(const GroupNormShape& shape, const GroupNormParameters& parameters, const T* x, const T* residual, float* partial,
                float* stats, T* y, cudaStream_t stream);

// partial: scratch [N][chunks][3][C]; dvectors: out [4][N][C], gradients of gain, shift, x_bias and residual_bias.
template <class T, Activation A>
void group_norm_backward(const GroupNormShape& shape, const GroupNormParameters& parameters, const T* x, const T* dy, const float* stats,
                         float* partial, T* dx, float* dvectors, cudaStream_t stream);

// The same in one kernel each way that reads its images once, for images that fit into the registers of the blocks of a cluster.
template <class T>
bool group_norm_fits(const GroupNormShape& shape);
template <class T, Activation A>
cudaError_t group_norm_at_once(const GroupNormShape& shape, const GroupNormParameters& parameters, const T* x, const T* residual,
                               float* stats, T* y, cudaStream_t stream);
template <class T, Activation A>
cudaError_t group_norm_backward_at_once(const GroupNormShape& shape, const GroupNormParameters& parameters, const T* x, const T* dy,
                                        const float* stats, T* dx, float* dvectors, cudaStream_t stream);

}  // namespace df::cuda
