// SPDX-License-Identifier: MIT
// The tokens of an MLP-GRU one after the other, as one operator with a backward pass of its own: what a token keeps lies beside what the
// others keep, so that the gradient of a weight is one matrix product over all tokens, and is not computed where nobody asks for it.
#pragma once

#include <vector>

#include "diffusion_forcing/core/tensor.hpp"

namespace df::ops {

// gelu(shortcut(x) + second(gelu(first(x)))); without a shortcut x itself.
struct ResidualWeights {
  Tensor first, first_bias, second, second_bias, shortcut, shortcut_bias;
};
// Residual layers, then a plain one where `last` is defined.
struct MlpWeights {
  std::vector<ResidualWeights> residual;
  Tensor last, last_bias;
};
struct GruWeights {
  Tensor ih, hh, bias_ih, bias_hh;
};
struct MlpGruWeights {
  MlpWeights before;  // at least one residual layer, the first with a shortcut
  std::vector<GruWeights> cells;
  MlpWeights after;  // ends in a plain layer
};

// z_t = after(cells(before(z_{t-1}, features_t), z_{t-1})), under the autocast of the moment.
// Where the device has a kernel for all tokens at once that is faster for so many sequences, it runs; elsewhere operator after operator.
// features [B, T, F], z [B, Z] -> [B, T, Z]. Gradients of gradients are not available.
Tensor mlp_gru_recurrence(const MlpGruWeights& weights, const Tensor& features, const Tensor& z);

}  // namespace df::ops
