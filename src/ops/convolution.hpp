// SPDX-License-Identifier: MIT
// Convolutions of images as networks call them: gradients flow through, and a sequence may share its weights (ops/shared_weights.hpp).
#pragma once

#include <c10/util/ArrayRef.h>

#include <cstdint>
#include <optional>
#include <utility>

#include "diffusion_forcing/core/tensor.hpp"

namespace df::ops {

class SharedWeights;

// A parameter [out, in, h, w], and the shared weights of the sequence that convolves with it; null: it is taken as it is.
struct ConvolutionWeight {
  ConvolutionWeight(const Tensor& weight, const SharedWeights* shared = nullptr) : parameter(weight), shared(shared) {}
  Tensor parameter;
  const SharedWeights* shared;
};

// at::conv2d with the weight, seen with other `sizes` where there are some. The bias may be undefined.
Tensor convolution(const Tensor& x, const ConvolutionWeight& weight, const Tensor& bias, int64_t stride, int64_t padding,
                   at::IntArrayRef sizes = {});
// The convolution of x, and x for another use. The gradient of the second is added while that of the first is computed. Stride 1.
std::pair<Tensor, Tensor> convolution_and_images(const Tensor& x, const ConvolutionWeight& weight, int64_t padding);
// Two convolutions of the same images beside each other in their channels, which need not be joined for them: nothing where there are no
// kernels for that. Stride 1, the images' size is kept.
std::optional<std::pair<Tensor, Tensor>> convolve_twice(const Tensor& x, const Tensor& more, const ConvolutionWeight& weight,
                                                        const ConvolutionWeight& other);
// With the output channels of shared weights rounded up to sixteens, zeros, and any number of input channels beyond the weight's, which do
// not count: what kernels want. Stride 1.
Tensor padded_convolution(const Tensor& x, const ConvolutionWeight& weight, int64_t padding);
// With a bias by image, [N, out]: of its gradient each image gives its own. Stride 1.
Tensor biased_convolution(const Tensor& x, const ConvolutionWeight& weight, const Tensor& bias, int64_t padding);
// The same of x and `more` beside each other in their channels. Of `more` those beyond the weight's are zeros or do not count.
Tensor convolution_of_both(const Tensor& x, const Tensor& more, const ConvolutionWeight& weight, const Tensor& bias, int64_t padding);

}  // namespace df::ops
