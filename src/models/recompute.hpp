// SPDX-License-Identifier: MIT
// Activations that are computed again in the backward pass instead of being kept: memory for time (Chen et al. 2016).
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

namespace df {

// work(inputs) -> outputs, of which only `inputs` are kept for the backward pass; `parameters` are those that `work` uses. Same value and gradients as
// the plain call, under the autocast of the moment. `work` must give the same for the same inputs each time and must outlive the graph.
std::vector<at::Tensor> recomputed(const std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>&)>& work,
                                   const std::vector<at::Tensor>& inputs, const std::vector<at::Tensor>& parameters);

}  // namespace df
