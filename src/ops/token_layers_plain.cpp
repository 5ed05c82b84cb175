// SPDX-License-Identifier: MIT
#include <ATen/ATen.h>

#include "ops/pointwise.hpp"
#include "ops/token_layers.hpp"

namespace df::ops {

namespace plain {

void token_layers(const TokenLayers& network) {
  for (int64_t i = 0; i < network.tokens; ++i) {
    const auto now = [&](const Tensor& x) {
      return x.defined() ? x.select(0, x.size(0) == 1 ? 0 : network.reverse ? network.tokens - 1 - i : i) : x;
    };
    const TokenCell& cell = network.cell;
    for (const TokenLayer& layer : network.layers) {
      Tensor sum = at::linear(now(layer.x), layer.w, layer.bias);
      switch (layer.kind) {
        case TokenLayer::Kind::gru:
          now(cell.from_x).copy_(sum);
          gru(sum, now(cell.from_z), now(cell.z), now(cell.y));
          break;
        case TokenLayer::Kind::gru_backward:
          gru_backward(now(cell.from_x), now(cell.from_z), now(cell.z), sum, now(cell.dfrom_x), now(cell.dfrom_z), now(cell.dz));
          break;
        case TokenLayer::Kind::dense:
          if (layer.residual.defined()) sum = sum + now(layer.residual);
          if (layer.slope.defined()) sum = at::gelu_backward(sum, now(layer.slope));
          now(layer.out).copy_(sum);
          if (layer.gelu.defined()) now(layer.gelu).copy_(at::gelu(sum.narrow(1, 0, layer.gelu.size(2))));
      }
    }
  }
}

}  // namespace plain

}  // namespace df::ops
