// SPDX-License-Identifier: MIT
// A network of layers over tokens as kernels take it.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "cuda/token_layers.cuh"
#include "diffusion_forcing/core/error.hpp"
#include "ops/token_layers.hpp"

namespace df::ops {

inline cuda::TokenMatrix token_matrix(const Tensor& x) {
  if (!x.defined()) return {};
  return {static_cast<__nv_bfloat16*>(const_cast<void*>(x.const_data_ptr())), static_cast<int>(x.stride(1)),
          x.size(0) == 1 ? 0 : static_cast<int>(x.stride(0))};
}

// `arrived` is left to the caller.
inline cuda::TokenNetwork token_network(const TokenLayers& network) {
  cuda::TokenNetwork out{};
  out.count = static_cast<int>(network.layers.size());
  if (out.count > cuda::most_token_layers)
    throw Error("token layers: expected at most " + std::to_string(cuda::most_token_layers) + ", got " + std::to_string(out.count));
  out.tokens = static_cast<int>(network.tokens);
  out.rows = static_cast<int>(network.layers[0].x.size(1));
  out.reverse = network.reverse;
  const auto elements = [](const Tensor& x) { return x.defined() ? static_cast<const __nv_bfloat16*>(x.const_data_ptr()) : nullptr; };
  for (int i = 0; i < out.count; ++i) {
    const TokenLayer& from = network.layers[static_cast<size_t>(i)];
    cuda::TokenLayerShape& to = out.layers[i];
    to.x = token_matrix(from.x), to.residual = token_matrix(from.residual), to.slope = token_matrix(from.slope);
    to.out = token_matrix(from.out), to.gelu = token_matrix(from.gelu);
    to.w = elements(from.w), to.bias = elements(from.bias);
    to.inputs = static_cast<int>(from.x.size(2)), to.columns = static_cast<int>(from.w.size(0));
    to.w_stride = static_cast<int>(from.w.stride(0));
    to.gelu_columns = from.gelu.defined() ? static_cast<int>(from.gelu.size(2)) : 0;
    to.kind = static_cast<cuda::TokenLayerKind>(from.kind);
  }
  const TokenCell& cell = network.cell;
  out.units = cell.z.defined() ? static_cast<int>(cell.z.size(2)) : 0;
  out.cell = {token_matrix(cell.from_x),  token_matrix(cell.from_z),  token_matrix(cell.z), token_matrix(cell.y),
              token_matrix(cell.dfrom_x), token_matrix(cell.dfrom_z), token_matrix(cell.dz)};
  return out;
}

}  // namespace df::ops
