// SPDX-License-Identifier: MIT
// The weights of convolutions that all tokens of a sequence share.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/intrusive_ptr.h>

#include <optional>
#include <unordered_map>
#include <vector>

#include "diffusion_forcing/core/tensor.hpp"

namespace df::ops {

class WeightGradients;

// A convolution that is given the weights of its sequence (ops/convolution.hpp) leaves its weight's gradient aside: the backward pass of a
// token goes on without it, the device computes it meanwhile (core/side_stream.hpp), and what all tokens leave is summed at the end, once
// and in float32. Without them each token's gradient holds up the tokens before, and is added to the sum so far in the type of the
// activations. One thread runs a sequence; other sequences may run on other threads with theirs.
class SharedWeights {
 public:
  // weights: parameters [out, in, h, w] of one device. Under autocast they are cast here.
  explicit SharedWeights(const std::vector<Tensor>& weights);
  ~SharedWeights();
  SharedWeights(const SharedWeights&) = delete;
  SharedWeights& operator=(const SharedWeights&) = delete;

  // The rest is for convolutions. Where `weight` stands among the weights; nothing where it does not.
  std::optional<size_t> place_of(const Tensor& weight) const;
  const Tensor& cast(size_t place) const { return cast_[place]; }
  // The weight at `place` as it is multiplied by: `seen` is its cast, perhaps with other sizes; with zeros for further channels and laid
  // out as the activations are where it is not. Each the same way at every use.
  Tensor applied(size_t place, const Tensor& seen, int64_t out, int64_t in) const;
  const c10::intrusive_ptr<WeightGradients>& gradients() const { return gradients_; }

 private:
  std::unordered_map<const at::TensorImpl*, size_t> place_;  // by parameter
  std::vector<Tensor> cast_;
  mutable std::unordered_map<size_t, Tensor> applied_;
  c10::intrusive_ptr<WeightGradients> gradients_;
};

}  // namespace df::ops
