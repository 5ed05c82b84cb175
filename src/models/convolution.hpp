// SPDX-License-Identifier: MIT
// Convolutions and their gradients, by a kernel where the device brings one for the sizes (core/fused_kernels.hpp) and by ATen elsewhere.
// No gradients flow through.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/fused_kernels.hpp"
#include "diffusion_forcing/core/tensor.hpp"

namespace df::ops {

struct ConvolutionStep {
  int64_t stride, padding;
};

// The images as one, [N, C, H, W], channels last where there are kernels.
Tensor joined(const ImagePair& x);
// Whether kernels take them as they are, in `convolution`, `convolution_backward` and `add_weights`. w [K, C, h, w] of their type.
bool takes_pair(const ImagePair& x, const Tensor& w, ConvolutionStep step);

// bias: by image, float32 [N, K] with rows any distance apart, or undefined.
Tensor convolution(const ImagePair& x, const Tensor& w, ConvolutionStep step, const Tensor& bias);
// The gradients of x from dy, that of the result: of images of `first` channels and of those of `second` channels that lie beside them, or
// 0: none are wanted. Plus `more` like them, of which each may be undefined.
ImagePair convolution_backward(const Tensor& dy, const ImagePair& x, const Tensor& w, ConvolutionStep step, int64_t first, int64_t second,
                               const ImagePair& more);
// The gradient of w, in the type of dy.
Tensor convolution_weight(const Tensor& dy, const ImagePair& x, const Tensor& w, ConvolutionStep step);

// Whether a kernel adds the gradients of several batches up in float32.
bool adds_weights(const Tensor& dy, const ImagePair& x, const Tensor& w, ConvolutionStep step);
// At most so many batches at a time, the tokens of a sequence; a kernel takes no more than core/fused_kernels.hpp says.
constexpr size_t most_batches = 9;
// The sum of these gradients of weights [K, C, side, side] and of `more`, an earlier sum of the kind, or undefined. Float32.
Tensor add_weights(ConvolutionBatches batches, int64_t side, const Tensor& more);

}  // namespace df::ops
