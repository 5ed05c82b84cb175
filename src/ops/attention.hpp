// SPDX-License-Identifier: MIT
// Attention over the pixels of an image and learned memory tokens: kernels (cuda/attention_kernels.cpp) or tensor operators
// (ops/attention_plain.cpp). Gradients flow through both.
#pragma once

#include <cstdint>

#include "diffusion_forcing/core/tensor.hpp"

namespace df::ops {

// Queries normalised over channels, keys over pixels and memory tokens (Shen et al. 2021), scale c^-1/2.
// qkv [N, 3 heads c, H, W], memory [N, 2, heads, c, M] (keys, values) of each image -> [N, heads c, H, W]
Tensor linear_attention(const Tensor& qkv, const Tensor& memory, int64_t heads);

// Softmax attention between all pixels, keys and values of memory tokens included, which each image has of its own.
// qkv [N, 3 heads c, H, W], memory [N, 2, heads, M, c] (keys, values) -> [N, heads c, H, W]
Tensor full_attention(const Tensor& qkv, const Tensor& memory);

namespace plain {
Tensor linear_attention(const Tensor& qkv, const Tensor& memory, int64_t heads);
Tensor full_attention(const Tensor& qkv, const Tensor& memory);
}  // namespace plain

// Linear attention with 32 channels a head.
struct LinearAttentionInput {
  Tensor qkv;     // bfloat16 [N, 3 heads 32, H, W], channels last
  Tensor memory;  // float32 [N, 2, heads, 32, M]: keys and values that each image also has, images any distance apart
  int64_t heads;
};
struct LinearAttentionOutput {
  Tensor out;      // bfloat16 [N, heads 32, H, W], channels last
  Tensor context;  // float32 [N heads, 32, 32], normalised and scaled: key channel, value channel
  Tensor keys;     // float32 [N heads, 2, 32], of each key channel: what exponentials are taken against, and their sum
};
struct LinearAttentionGradient {
  Tensor qkv, memory;  // the latter by image
};

// Of attention's queries, keys and values [N, P, 3, heads, c], and of memory tokens by image, float32 [N, 2, heads, M, c].
struct MemoryTokensGradient {
  Tensor qkv, memory;
};

class AttentionKernels {
 public:
  virtual ~AttentionKernels() = default;
  virtual LinearAttentionOutput linear_attention(const LinearAttentionInput& input) const = 0;
  virtual LinearAttentionGradient linear_attention_backward(const LinearAttentionInput& input, const LinearAttentionOutput& output,
                                                            const Tensor& dout) const = 0;
  // Keys and values [2, N, M + P, heads, c], those of the memory first: qkv [N, P, 3, heads, c], float32 or bfloat16, c divisible by 8;
  // memory float32 [N, 2, heads, M, c], images any distance apart.
  virtual Tensor with_memory(const Tensor& qkv, const Tensor& memory) const = 0;
  // dq [N, P, heads, c], dk and dv [N, M + P, heads, c]
  virtual MemoryTokensGradient with_memory_backward(const Tensor& dq, const Tensor& dk, const Tensor& dv) const = 0;
};

}  // namespace df::ops
