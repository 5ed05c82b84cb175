// SPDX-License-Identifier: MIT
// RMS normalisation over the channels of pixels, on raw memory: images [N][pixels][C].
#pragma once

#include "cuda/image_vector.cuh"

namespace df::cuda {

struct RmsNormShape {
  int images, pixels, channels;
};

// x_bias may be absent: 0. residual like x, or null.
template <class T>
void rms_norm(const RmsNormShape& shape, ImageVector x_bias, ImageVector g, const T* x, const T* residual, T* y, cudaStream_t stream);

// dx: the gradient of x plus `more` like it, or null: 0. dvectors: out [N][C], the gradient of g by image, then that of x_bias if that is
// there.
template <class T>
cudaError_t rms_norm_backward(const RmsNormShape& shape, ImageVector x_bias, ImageVector g, const T* x, const T* dy, const T* more, T* dx,
                              float* dvectors, cudaStream_t stream);

}  // namespace df::cuda
