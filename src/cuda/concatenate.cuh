// SPDX-License-Identifier: MIT
// Images beside each other in their channels, and parts of such, on raw memory, channels innermost and divisible by 8.
#pragma once

#include <cuda_runtime.h>

namespace df::cuda {

// y [pixels][A + B] from a [pixels][A] and b [pixels][B].
template <class T>
void concatenate(int pixels, int a_channels, int b_channels, const T* a, const T* b, T* y, cudaStream_t stream);

// y [pixels][C] = x, whose pixels are `row` elements apart, + more [pixels][C], if not null.
template <class T>
void gather(int pixels, int channels, int row, const T* x, const T* more, T* y, cudaStream_t stream);

}  // namespace df::cuda
