// SPDX-License-Identifier: MIT
// The tensor of every public signature. Cheap to include: nothing of torch::nn, no operators.
#pragma once

#include <ATen/core/Tensor.h>

namespace df {

using at::Tensor;

}  // namespace df
