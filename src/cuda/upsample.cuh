// SPDX-License-Identifier: MIT
// Every pixel twice in each direction, on raw memory, channels innermost.
#pragma once

#include <cuda_runtime.h>

namespace df::cuda {

// x [rows][width][C], the rows of all images, to y [2 rows][2 width][C].
template <class T>
void upsample(int rows, int width, int channels, const T* x, T* y, cudaStream_t stream);

// dx: the sum over the four pixels that each became.
template <class T>
void upsample_backward(int rows, int width, int channels, const T* dy, T* dx, cudaStream_t stream);

}  // namespace df::cuda
