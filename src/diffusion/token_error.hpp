// SPDX-License-Identifier: MIT
// Noising of tokens and the error of their predictions: one kernel each where the device brings it.
#pragma once

#include "core/fused_kernels.hpp"

namespace df {

// [N, token...], float32.
Tensor mix_tokens(const TokenMix& mix);
// Mean over all elements of weight (target - prediction)^2, which the gradient of the prediction flows through.
Tensor weighted_error(const TokenError& error);

// The same as plain tensor operators: what devices without kernels run, and the twin that kernels are tested against.
namespace plain {
Tensor mix_tokens(const TokenMix& mix);
Tensor weighted_error(const TokenError& error);
}  // namespace plain

}  // namespace df
