// SPDX-License-Identifier: MIT
// Activations that are computed again in the backward pass instead of being kept: memory for time (Chen et al. 2016).
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <functional>
#include <vector>

namespace df::ops {

// Runs the tokens of a sequence one by one.
class TokenRunner {
 public:
  using Tensors = std::vector<at::Tensor>;
  using Work = std::function<Tensors(const Tensors& inputs)>;

  // recompute: only the inputs of each token are kept for the backward pass. `module` holds every parameter that the work uses.
  TokenRunner(const torch::nn::Module& module, bool recompute)
      : recompute_(recompute), parameters_(recompute ? module.parameters() : Tensors()) {}

  // work(inputs), with the same value and gradients either way, under the autocast of the moment. Inputs are defined. `work` must give the
  // same for the same inputs each time; what it refers to must outlive the graph.
  Tensors operator()(const Work& work, const Tensors& inputs) const;

 private:
  bool recompute_;
  Tensors parameters_;
};

}  // namespace df::ops
