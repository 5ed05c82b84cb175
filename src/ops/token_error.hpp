// SPDX-License-Identifier: MIT
// Noising of tokens and the error of their predictions: one kernel each (cuda/token_error.cu) or tensor operators
// (ops/token_error_plain.cpp).
#pragma once

#include "diffusion_forcing/core/tensor.hpp"

namespace df::ops {

// of_x0 x0 + of_eps clamp(eps, -clip, clip) of N tokens: noisy tokens, or what a network is to give for them.
struct TokenMix {
  Tensor x0, eps;        // float32 [N, token...], dense; either may be undefined: 0
  Tensor of_x0, of_eps;  // float32 [N]
  double clip;
  const Tensor& tokens() const { return x0.defined() ? x0 : eps; }  // one that is there
};
struct TokenError {
  TokenMix target;
  // float32 or bfloat16 [N, token...], gapless; all but the first two dimensions lie as one, as in either layout of images
  Tensor prediction;
  Tensor weight;  // float32 [N, frames]: a token's elements are divided evenly among its frames
};

// [N, token...], float32.
Tensor mix_tokens(const TokenMix& mix);
// Mean over all elements of weight (target - prediction)^2, which the gradient of the prediction flows through.
Tensor weighted_error(const TokenError& error);

namespace plain {
Tensor mix_tokens(const TokenMix& mix);
Tensor weighted_error(const TokenError& error);
}  // namespace plain

class ErrorKernels {
 public:
  virtual ~ErrorKernels() = default;
  virtual Tensor mix_tokens(const TokenMix& mix) const = 0;
  // Mean over all elements of weight (target - prediction)^2, and the gradient of the prediction, laid out as it is.
  virtual Tensor weighted_error(const TokenError& error) const = 0;
  virtual Tensor weighted_error_backward(const TokenError& error, const Tensor& upstream) const = 0;
};

}  // namespace df::ops
