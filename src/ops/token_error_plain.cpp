// SPDX-License-Identifier: MIT
#include <ATen/ATen.h>

#include "diffusion_forcing/core/shape.hpp"
#include "ops/token_error.hpp"

namespace df::ops {

namespace plain {

Tensor mix_tokens(const TokenMix& mix) {
  Tensor sum;
  if (mix.x0.defined()) sum = per_token(mix.of_x0, mix.x0) * mix.x0;
  if (!mix.eps.defined()) return sum;
  const Tensor noise = per_token(mix.of_eps, mix.eps) * mix.eps.clamp(-mix.clip, mix.clip);
  return sum.defined() ? sum + noise : noise;
}

Tensor weighted_error(const TokenError& error) {
  const Tensor squares = (plain::mix_tokens(error.target) - error.prediction).square().flatten(1);  // [N, E]
  return (squares.unflatten(1, {error.weight.size(1), -1}) * error.weight.unsqueeze(-1)).mean();    // [N, frames, E / frames]
}

}  // namespace plain

}  // namespace df::ops
