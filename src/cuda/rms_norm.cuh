// SPDX-License-Identifier: MIT
// RMS normalisation over the channels of pixels x channels images, on raw memory.
#pragma once

#include <cuda_runtime.h>

namespace df::cuda {

// x, y [pixels][channels]; x_bias [C] or null; g [C]; residual like x, or null.
template <class T>
void rms_norm(int pixels, int channels, const T* x, const float* x_bias, const float* g, const T* residual, T* y, cudaStream_t stream);

// partial: out [blocks][2][C], parts of the gradients of g and x_bias, to be added up.
template <class T>
void rms_norm_backward(int pixels, int channels, int blocks, const T* x, const float* x_bias, const float* g, const T* dy, T* dx, float* partial,
                       cudaStream_t stream);

}  // namespace df::cuda
