// SPDX-License-Identifier: MIT
// Gradients of the weights of convolutions with a border of zeros, of several batches of images at a time.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "cuda/convolution_shape.cuh"

namespace df::cuda {

struct ConvolutionBatches {
  static constexpr int most = 16;
  // [images, height, width, .], gapless, from multiples of 16 bytes on: of x two images beside each other in their channels, of which the
  // first has `first`, and the second the rest of `in`, or is not there where that is nothing; dy has `out`.
  const __nv_bfloat16 *x[2][most], *dy[most];
  int count, first;  // of batches, at most `most`; of channels
  ConvolutionShape shape;
};

// Into how many parts the pixels are divided so that a device of so many multiprocessors is busy. 0: sizes that there is no kernel for.
int convolution_weights_parts(const ConvolutionBatches& batches, int multiprocessors);
// dw float32 [out, side, side, in]: the sum over all batches, plus `more` like dw (or null: 0); partial float32 [parts, out, side, side,
// in]. An error that launches report.
cudaError_t convolution_weights(const ConvolutionBatches& batches, int parts, const float* more, float* partial, float* dw,
                                cudaStream_t stream);

}  // namespace df::cuda
