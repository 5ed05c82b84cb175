// SPDX-License-Identifier: MIT
// A network that is applied to token after token, as a list of layers. A kernel runs the list over all tokens at once
// (cuda/token_layers.cu); elsewhere one operator runs after the other (ops/token_layers_plain.cpp).
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <vector>

#include "diffusion_forcing/core/tensor.hpp"

namespace df::ops {

// Each layer reads what layers before it have written, of the token before too. Tensors [tokens, B, n] or [1, B, n], where all tokens write
// to the same place; their rows may be strided. All of one type.
struct TokenLayer {
  enum class Kind { dense, gru, gru_backward };
  Kind kind = Kind::dense;
  Tensor x, w, bias;       // [., B, K], [N, K], [N] or undefined
  Tensor residual, slope;  // [., B, N] or undefined
  Tensor out;              // dense: (x w^T + bias + residual) gelu'(slope), without the factor where slope is undefined
  Tensor gelu;             // dense: [., B, M] or undefined: gelu of the first M columns of `out`
};
// What layers of the kinds `gru` and `gru_backward` do with x w^T + bias: it is from_x, and y is the next state; or it is the gradient of
// y, and those of from_x and from_z follow, while that of z is added to dz.
struct TokenCell {
  Tensor from_x, from_z, z, y;  // [., B, 3 C], [., B, 3 C], [., B, C], [., B, C]
  Tensor dfrom_x, dfrom_z, dz;  // like from_x, from_z, z
};
struct TokenLayers {
  std::vector<TokenLayer> layers;
  TokenCell cell;
  int64_t tokens = 0;
  bool reverse = false;  // from the last token to the first
};

// Runs the network over all its tokens.
void token_layers(const TokenLayers& network);
// Whether a kernel runs it, rather than one operator after the other.
bool token_layers_fused(const TokenLayers& network);

namespace plain {
void token_layers(const TokenLayers& network);
}  // namespace plain

class TokenLayerKernels {
 public:
  virtual ~TokenLayerKernels() = default;
  // Whether running layers of `rows` rows and of this type as one list is faster than one operator after the other.
  virtual bool faster(at::ScalarType type, int64_t rows) const = 0;
  // bfloat16, sizes divisible by 8, addresses and strides by 16 bytes.
  virtual void token_layers(const TokenLayers& network) const = 0;
};

}  // namespace df::ops
