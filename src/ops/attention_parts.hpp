// SPDX-License-Identifier: MIT
// What full attention has in common with and without kernels.
#pragma once

#include <ATen/ATen.h>

#include "diffusion_forcing/core/tensor.hpp"

namespace df::ops {

// Queries, keys and values of qkv [N, 3 heads c, H, W]: [N, P, 3, heads, c], a view where channels are innermost.
inline Tensor by_pixel(const Tensor& qkv, const Tensor& memory) {
  return qkv.permute({0, 2, 3, 1}).reshape({qkv.size(0), qkv.size(2) * qkv.size(3), 3, memory.size(2), memory.size(4)});
}
inline Tensor by_head(const Tensor& tokens) { return tokens.transpose(1, 2); }  // and back: [N, tokens, h, c] and [N, h, tokens, c]

inline Tensor attend(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& qkv) {  // by head
  const Tensor out = by_head(at::scaled_dot_product_attention(q, k, v));
  const Tensor image = out.reshape({qkv.size(0), qkv.size(2), qkv.size(3), qkv.size(1) / 3}).permute({0, 3, 1, 2});
  return image.contiguous(qkv.suggest_memory_format());
}

}  // namespace df::ops
