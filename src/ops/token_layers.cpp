// SPDX-License-Identifier: MIT
#include "ops/token_layers.hpp"

#include <ATen/ATen.h>

#include "ops/kernels.hpp"

namespace df::ops {

namespace {

bool whole_vectors(const Tensor& x) {  // [., B, n] or a matrix
  const auto whole = [](int64_t n) { return n % 8 == 0; };
  return !x.defined() || (x.scalar_type() == at::kBFloat16 && x.stride(-1) == 1 && whole(x.size(-1)) && whole(x.storage_offset()) &&
                          (x.dim() < 2 || whole(x.stride(-2))) && (x.dim() < 3 || whole(x.stride(0))));
}

}  // namespace

bool token_layers_fused(const TokenLayers& network) {
  const TokenCell& cell = network.cell;
  for (const Tensor& x : {cell.from_x, cell.from_z, cell.z, cell.y, cell.dfrom_x, cell.dfrom_z, cell.dz})
    if (!whole_vectors(x)) return false;
  for (const TokenLayer& layer : network.layers)
    for (const Tensor& x : {layer.x, layer.w, layer.bias, layer.residual, layer.slope, layer.out, layer.gelu})
      if (!whole_vectors(x)) return false;
  return kernels(network.layers.front().x.device()).token_layers != nullptr;
}

void token_layers(const TokenLayers& network) {
  if (token_layers_fused(network))
    kernels(network.layers.front().x.device()).token_layers->token_layers(network);
  else
    plain::token_layers(network);
}

}  // namespace df::ops
