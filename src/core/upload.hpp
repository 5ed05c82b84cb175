// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/ops/pin_memory.h>

#include "diffusion_forcing/core/tensor.hpp"

namespace df {

// into = from. From the host to a device through page-locked memory, so that the copy waits in the device's queue and not here.
inline void upload(const Tensor& from, const Tensor& into) {
  into.copy_(from.is_cpu() && !into.is_cpu() ? from.pin_memory() : from, /*non_blocking=*/true);
}

}  // namespace df
