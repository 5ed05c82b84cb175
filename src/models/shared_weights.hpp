// SPDX-License-Identifier: MIT
// Convolutions of a sequence whose tokens share their weights.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/ArrayRef.h>
#include <c10/util/intrusive_ptr.h>

#include <unordered_map>
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
  friend Tensor convolution(const Tensor&, const Tensor&, const Tensor&, int64_t, int64_t, at::IntArrayRef);
  static thread_local const SharedWeights* current_;
  const SharedWeights* outer_;
  std::unordered_map<const at::TensorImpl*, size_t> place_;  // by parameter
  std::vector<Tensor> cast_;
  c10::intrusive_ptr<WeightGradients> gradients_;
};

// at::conv2d with the weight, seen with other `sizes` where there are some. The bias may be undefined.
Tensor convolution(const Tensor& x, const Tensor& weight, const Tensor& bias, int64_t stride, int64_t padding, at::IntArrayRef sizes = {});

}  // namespace df::layers
