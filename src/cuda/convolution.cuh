// SPDX-License-Identifier: MIT
// Convolutions with a border of zeros whose channels do not fill the tiles of general ones.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "cuda/convolution_shape.cuh"
#include "cuda/image_vector.cuh"

namespace df::cuda {

struct Convolution {
  ConvolutionShape shape;
  // False: w is [out, side, side, row], of which the first `in` channels count. True: w is [in, side, side, row], of which the first `out`
  // count, and y is the gradient of the images that w has been applied to, from that of the result.
  bool transposed;
  int row;  // divisible by 8
  // x and y may be two images beside each other in their channels: these are the channels of the first, or all of them.
  int first_in, first_out;
};

// [images, height, width, .], gapless, from multiples of 16 bytes on, as w is; of two each, or of one. `more` may be null: 0.
struct ConvolutionImages {
  const __nv_bfloat16 *x[2], *more[2];
  __nv_bfloat16* y[2];
  ImageVector bias;  // of y, where that is not the gradient of images
};

// Whether there is a kernel for these sizes, and a device of so many multiprocessors is busy with it.
bool convolution_fits(const Convolution& convolution, int multiprocessors);
// y from x, plus `more` like y. An error that launches report.
cudaError_t convolution(const Convolution& convolution, int multiprocessors, const ConvolutionImages& images, const __nv_bfloat16* w,
                        cudaStream_t stream);

}  // namespace df::cuda
