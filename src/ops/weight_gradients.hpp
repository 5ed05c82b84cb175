// SPDX-License-Identifier: MIT
// Gradients of weights that the convolutions of a sequence share: computed beside the backward pass and summed at its end.
#pragma once

#include <c10/util/intrusive_ptr.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include <string>
#include <vector>

#include "core/side_stream.hpp"
#include "ops/convolution_passes.hpp"

namespace df::ops {

// What tokens leave of each weight.
class WeightGradients : public torch::CustomClassHolder {
 public:
  explicit WeightGradients(const std::vector<Tensor>& weights);

  // w: the weight as it has been applied, perhaps seen with other sizes, or with more channels than it has.
  void leave(size_t place, const Tensor& dy, const ImagePair& x, const Tensor& w, ConvolutionStep step);

  // Of each weight the sum over tokens in float32; undefined where no token left any. Those that as many tokens left share their kernels.
  std::vector<Tensor> sums();

 private:
  struct Place {
    Tensor weight;
    std::vector<Tensor> left;   // flat, as the weight lies, a token each
    ConvolutionBatches to_add;  // tokens whose gradients are still to be added, of the same sizes
    Tensor sum;                 // of those that are; undefined where there are none
  };
  void add(Place& place);

  SideStream side_;
  std::vector<Place> places_;
};

// Those that a function of autograd has saved under this name.
c10::intrusive_ptr<WeightGradients> gradients_of(const torch::autograd::AutogradContext* context, const std::string& name);

}  // namespace df::ops
