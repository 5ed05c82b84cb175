// SPDX-License-Identifier: MIT
// A number for each channel of each image, added to all its pixels; and the sum over pixels, its gradient. On raw memory, channels
// innermost.
#pragma once

#include "cuda/image_vector.cuh"

namespace df::cuda {

// y = x + bias + residual; residual may be null.
template <class T>
void add_bias(int images, int pixels, int channels, const T* x, ImageVector bias, const T* residual, T* y, cudaStream_t stream);

// sums [N][C] over the pixels.
template <class T>
void pixel_sums(int images, int pixels, int channels, const T* x, float* sums, cudaStream_t stream);

}  // namespace df::cuda
