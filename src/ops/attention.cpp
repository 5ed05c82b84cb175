// SPDX-License-Identifier: MIT
#include "ops/attention.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "ops/attention_parts.hpp"
#include "ops/image_layout.hpp"
#include "ops/kernels.hpp"

namespace df::ops {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

const AttentionKernels& own(const Tensor& x) { return *kernels(x.device()).attention; }

struct LinearAttention : Function<LinearAttention> {
  static Tensor forward(AutogradContext* context, const Tensor& qkv, const Tensor& memory, int64_t heads) {
    const auto out = own(qkv).linear_attention({qkv, memory, heads});
    context->save_for_backward({qkv, memory, out.context, out.keys});
    context->saved_data["heads"] = heads;
    return out.out;
  }
  static variable_list backward(AutogradContext* context, const variable_list& upstream) {
    const auto saved = context->get_saved_variables();
    const Tensor dout = channels_last(upstream[0]);
    const auto gradient =
        own(dout).linear_attention_backward({saved[0], saved[1], context->saved_data["heads"].toInt()}, {{}, saved[2], saved[3]}, dout);
    return {gradient.qkv, gradient.memory, Tensor()};
  }
};

// Queries, keys and values by head, the latter two with those of the memory.
struct WithMemory : Function<WithMemory> {
  static variable_list forward(AutogradContext* context, const Tensor& qkv, const Tensor& memory) {
    const Tensor tokens = by_pixel(qkv, memory), all = own(qkv).with_memory(tokens, memory);
    context->saved_data["sizes"] = qkv.sizes().vec();
    return {by_head(tokens.select(2, 0)).detach(), by_head(all[0]).detach(), by_head(all[1]).detach()};
  }
  static variable_list backward(AutogradContext* context, const variable_list& upstream) {
    const auto sizes = context->saved_data["sizes"].toIntVector();
    const auto tokens = [](const Tensor& x) { return by_head(x).contiguous(); };
    const Tensor dq = tokens(upstream[0]), dk = tokens(upstream[1]), dv = tokens(upstream[2]);
    const auto gradient = own(dq).with_memory_backward(dq, dk, dv);
    return {gradient.qkv.view({sizes[0], sizes[2], sizes[3], sizes[1]}).permute({0, 3, 1, 2}), gradient.memory};
  }
};

}  // namespace

Tensor linear_attention(const Tensor& qkv, const Tensor& memory, int64_t heads) {
  const bool shaped = qkv.scalar_type() == at::kBFloat16 && memory.size(3) == 32;
  if (!shaped || !kernels(qkv.device()).attention) return plain::linear_attention(qkv, memory, heads);
  // Of an image all lies together: a view unless it does not.
  return LinearAttention::apply(channels_last(qkv), memory.to(at::kFloat).flatten(1).unflatten(1, memory.sizes().slice(1)), heads);
}

Tensor full_attention(const Tensor& qkv, const Tensor& memory) {
  const bool shaped = memory.size(4) % 8 == 0 && (qkv.scalar_type() == at::kBFloat16 || qkv.scalar_type() == at::kFloat);
  if (!shaped || !kernels(qkv.device()).attention) return plain::full_attention(qkv, memory);
  const Tensor images = channels_last(qkv);
  const auto tokens = WithMemory::apply(images, memory.to(at::kFloat));
  return attend(tokens[0], tokens[1], tokens[2], images);
}

}  // namespace df::ops
