// SPDX-License-Identifier: MIT
#pragma once

#include "core/fused_kernels.hpp"

namespace df {

// The kernels of this folder behind the interface of the core library. The object lives as long as the process.
const FusedKernels& cuda_kernels();

}  // namespace df
