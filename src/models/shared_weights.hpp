// SPDX-License-Identifier: MIT
// Convolutions of a sequence whose tokens share their weights.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/ArrayRef.h>
#include <c10/util/intrusive_ptr.h>

#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "diffusion_forcing/core/tensor.hpp"

namespace df::layers {

class WeightGradients;

// While it lives, every `convolution` of this thread with one of `weights` leaves that weight's gradient aside: the backward pass of a
// token goes on without it, the device computes it meanwhile (core/side_stream.hpp), and what all tokens leave is summed at the end, once
// and in float32. Without it each token's gradient holds up the tokens before, and is added to the sum so far in the type of the
// activations.
class SharedWeights {
 public:
  // weights: parameters [out, in, h, w] of one device. Under autocast they are cast here.
  explicit SharedWeights(const std::vector<Tensor>& weights);
  ~SharedWeights();
  SharedWeights(const SharedWeights&) = delete;
  SharedWeights& operator=(const SharedWeights&) = delete;

 private:
  friend class ConvolutionUse;
  static thread_local const SharedWeights* current_;
  const SharedWeights* outer_;
  std::unordered_map<const at::TensorImpl*, size_t> place_;  // by parameter
  std::vector<Tensor> cast_;
  // Those that convolutions take with zeros for more channels, or laid out anew: each the same way at every use.
  mutable std::unordered_map<size_t, Tensor> applied_;
  c10::intrusive_ptr<WeightGradients> gradients_;
};

// at::conv2d with the weight, seen with other `sizes` where there are some. The bias may be undefined.
Tensor convolution(const Tensor& x, const Tensor& weight, const Tensor& bias, int64_t stride, int64_t padding, at::IntArrayRef sizes = {});
// The convolution of x, and x for another use: the gradients of both are added where they arise. Stride 1.
std::pair<Tensor, Tensor> convolution_and_images(const Tensor& x, const Tensor& weight, int64_t padding);
// Two convolutions of the same images beside each other in their channels, which need not be joined for them: nothing where there are no
// kernels for that. Stride 1, the images' size is kept.
std::optional<std::pair<Tensor, Tensor>> convolve_twice(const Tensor& x, const Tensor& more, const Tensor& weight, const Tensor& other);
// With the output channels of shared weights rounded up to sixteens, zeros, and any number of input channels beyond the weight's, which do
// not count: what kernels want. Stride 1.
Tensor padded_convolution(const Tensor& x, const Tensor& weight, int64_t padding);
// With a bias by image, [N, out]: of its gradient each image gives its own. Stride 1.
Tensor biased_convolution(const Tensor& x, const Tensor& weight, const Tensor& bias, int64_t padding);
// The same of x and `more` beside each other in their channels. Of `more` those beyond the weight's are zeros or do not count.
Tensor convolution_of_both(const Tensor& x, const Tensor& more, const Tensor& weight, const Tensor& bias, int64_t padding);

}  // namespace df::layers
