// SPDX-License-Identifier: MIT
// The three passes of a convolution: its result, the gradient of its images, the gradient of its weight. Each by a kernel where the device
// brings one that is faster (cuda/convolution_kernels.cpp), else by ATen (ops/convolution_plain.cpp). No gradients flow through: networks
// use ops/convolution.hpp, which is made of these.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "diffusion_forcing/core/tensor.hpp"

namespace df::ops {

// Images beside each other in their channels, [N, A, H, W] and [N, B, H, W], or the first alone.
struct ImagePair {
  ImagePair(Tensor first = {}, Tensor second = {}) : first(std::move(first)), second(std::move(second)) {}
  Tensor first, second;  // the latter may be undefined
  int64_t channels() const { return first.size(1) + (second.defined() ? second.size(1) : 0); }
};
// Images before a convolution and gradients after it, of several batches, at most 16. All of the same sizes: only those of the first are
// looked at.
struct ConvolutionBatches {
  std::vector<ImagePair> x;
  std::vector<Tensor> dy;
};
struct ConvolutionStep {
  int64_t stride, padding;
};

// The images as one, [N, C, H, W], channels last where there are kernels.
Tensor joined(const ImagePair& x);
// Whether kernels take them as they are, in `convolution_forward`, `convolution_backward` and `add_weights`. w [K, C, h, w] of their type.
bool takes_pair(const ImagePair& x, const Tensor& w, ConvolutionStep step);

// bias: by image, float32 [N, K] with rows any distance apart, or undefined.
Tensor convolution_forward(const ImagePair& x, const Tensor& w, ConvolutionStep step, const Tensor& bias);
// The gradients of x from dy, that of the result: of images of `first` channels and of those of `second` channels that lie beside them, or
// 0: none are wanted. Plus `more` like them, of which each may be undefined.
ImagePair convolution_backward(const Tensor& dy, const ImagePair& x, const Tensor& w, ConvolutionStep step, int64_t first, int64_t second,
                               const ImagePair& more);
// The gradient of w, in the type of dy.
Tensor convolution_weight(const Tensor& dy, const ImagePair& x, const Tensor& w, ConvolutionStep step);

// Whether a kernel adds the gradients of several batches up in float32.
bool adds_weights(const Tensor& dy, const ImagePair& x, const Tensor& w, ConvolutionStep step);
// At most so many batches at a time, the tokens of a sequence; a kernel takes no more than ConvolutionBatches says.
constexpr size_t most_batches = 9;
// The sum of these gradients of weights [K, C, side, side] and of `more`, an earlier sum of the kind, or undefined. Float32.
Tensor add_weights(ConvolutionBatches batches, int64_t side, const Tensor& more);

namespace plain {
Tensor convolution_forward(const Tensor& x, const Tensor& w, ConvolutionStep step);
Tensor convolution_backward(const Tensor& dy, const Tensor& x, const Tensor& w, ConvolutionStep step);
Tensor convolution_weight(const Tensor& dy, const Tensor& x, const Tensor& w, ConvolutionStep step);
}  // namespace plain

// Convolutions with a border of zeros that keep the images' size, of C channels in all: w [K, C, n, n], C divisible by 8. `has_...` says
// whether there is a kernel that is faster than a general one, for tensors that lie like these. That the sizes agree, that all start at
// multiples of 16 bytes and that gradients, too, are channels last is up to the caller.
class ConvolutionKernels {
 public:
  virtual ~ConvolutionKernels() = default;
  virtual bool has_convolution(const ImagePair& x, const Tensor& w) const = 0;
  // Plus a bias by image, float32 [N, K] with rows any distance apart, or undefined.
  virtual Tensor convolution(const ImagePair& x, const Tensor& w, const Tensor& bias) const = 0;
  // Gradients of images of `first` channels and then of `second` (or 0: none are wanted) from dy [N, K, H, W]; plus `more` like them, of
  // which each may be undefined.
  virtual bool has_convolution_backward(const Tensor& dy, const Tensor& w, int64_t first, int64_t second) const = 0;
  virtual ImagePair convolution_backward(const Tensor& dy, const Tensor& w, int64_t first, int64_t second, const ImagePair& more) const = 0;
  // Float32 and channels last, like w: the sum of its gradients over batches, plus `more`, another such sum, or undefined. Of dy only the
  // type is asked for.
  virtual bool has_convolution_weights(const ImagePair& x, const Tensor& dy, const Tensor& w) const = 0;
  virtual Tensor convolution_weights(const ConvolutionBatches& batches, int64_t side, const Tensor& more) const = 0;
};

}  // namespace df::ops
