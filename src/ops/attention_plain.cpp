// SPDX-License-Identifier: MIT
#include <ATen/ATen.h>

#include <cmath>

#include "ops/attention.hpp"
#include "ops/attention_parts.hpp"

namespace df::ops {

namespace plain {

Tensor linear_attention(const Tensor& qkv, const Tensor& memory, int64_t heads) {
  const int64_t n = qkv.size(0), channels = memory.size(3), pixels = qkv.size(2) * qkv.size(3);
  const auto parts = qkv.reshape({n, 3, heads, channels, pixels}).unbind(1);  // each [N, h, c, P]
  const auto extra = memory.unbind(1);                                        // each [N, h, c, M]
  const Tensor q = at::softmax(parts[0], 2) * (1.0 / std::sqrt(static_cast<double>(channels)));
  const Tensor k = at::softmax(at::cat({extra[0], parts[1]}, -1), -1);  // [N, h, c, M + P]
  const Tensor v = at::cat({extra[1], parts[2]}, -1);
  const Tensor context = at::matmul(v, k.transpose(-1, -2));  // [N, h, c of v, c of k]
  return at::matmul(context, q).reshape({n, heads * channels, qkv.size(2), qkv.size(3)});
}

Tensor full_attention(const Tensor& qkv, const Tensor& memory) {
  const auto own = by_pixel(qkv, memory).unbind(2);                                     // [N, P, h, c] each
  const auto extra = memory.to(qkv.scalar_type()).transpose(2, 3).unbind(1);            // [N, M, h, c] each
  const Tensor k = at::cat({extra[0], own[1]}, 1), v = at::cat({extra[1], own[2]}, 1);  // [N, M + P, h, c]
  return attend(by_head(own[0]), by_head(k), by_head(v), qkv);
}

}  // namespace plain

}  // namespace df::ops
