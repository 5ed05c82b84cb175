// SPDX-License-Identifier: MIT
// Tensors at the border to media/backend.hpp.
#pragma once

#include <string>

#include "diffusion_forcing/core/tensor.hpp"

namespace df::media {

// Throws df::Error unless uint8 [3, H, W] with pixels.
void check_frame(const Tensor& frame, const std::string& name);
// [3, H, W] -> contiguous [H, W, 3] on the CPU.
Tensor to_rows(const Tensor& frame);

}  // namespace df::media
