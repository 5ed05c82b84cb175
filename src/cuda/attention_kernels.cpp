// SPDX-License-Identifier: MIT
#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>

#include "cuda/arguments.hpp"
#include "cuda/linear_attention.cuh"
#include "cuda/memory_tokens.cuh"
#include "cuda/tables.hpp"
#include "ops/attention.hpp"

namespace df::ops {

namespace {

class CudaAttention final : public AttentionKernels {
 public:
  LinearAttentionOutput linear_attention(const LinearAttentionInput& in) const override {
    const c10::cuda::CUDAGuard guard(in.qkv.device());
    const auto s = shape_of(in);
    LinearAttentionOutput out;
    out.out = images_like(in.qkv, s.heads * 32);
    out.context = float_empty(in.qkv, {s.images * s.heads, 32, 32});
    out.keys = float_empty(in.qkv, {s.images * s.heads, 2, 32});
    C10_CUDA_CHECK(cuda::linear_attention(s, elements<bf16>(in.qkv), floats(in.memory), elements_of<float>(out.context),
                                          elements_of<float>(out.keys), elements_of<bf16>(out.out), stream()));
    return out;
  }

  LinearAttentionGradient linear_attention_backward(const LinearAttentionInput& in, const LinearAttentionOutput& out,
                                                    const Tensor& dout) const override {
    const c10::cuda::CUDAGuard guard(in.qkv.device());
    const auto s = shape_of(in);
    auto dqkv = like(in.qkv);
    auto dmemory = float_empty(in.qkv, {s.images, 2, s.heads, 32, s.memories});
    C10_CUDA_CHECK(cuda::linear_attention_backward(s, elements<bf16>(in.qkv), floats(in.memory), floats(out.context), floats(out.keys),
                                                   elements<bf16>(dout), elements_of<bf16>(dqkv), elements_of<float>(dmemory), stream()));
    return {dqkv, dmemory};
  }

  Tensor with_memory(const Tensor& qkv, const Tensor& memory) const override {
    const c10::cuda::CUDAGuard guard(qkv.device());
    const Tensor rows = memory.flatten(1);  // a copy where the rest is not dense
    const cuda::MemoryTokensShape s{static_cast<int>(qkv.size(0)), static_cast<int>(qkv.size(1)), static_cast<int>(memory.size(3)),
                                    static_cast<int>(qkv.size(3)), static_cast<int>(qkv.size(4))};
    auto kv = at::empty({2, qkv.size(0), memory.size(3) + qkv.size(1), qkv.size(3), qkv.size(4)}, qkv.options());
    with_type(qkv, [&](auto type) {
      using T = decltype(type);
      cuda::with_memory<T>(s, elements<T>(qkv), floats(rows), static_cast<int>(rows.stride(0)), elements_of<T>(kv), stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return kv;
  }

  MemoryTokensGradient with_memory_backward(const Tensor& dq, const Tensor& dk, const Tensor& dv) const override {
    const c10::cuda::CUDAGuard guard(dq.device());
    const int64_t n = dq.size(0), pixels = dq.size(1), heads = dq.size(2), channels = dq.size(3), memories = dk.size(1) - pixels;
    const cuda::MemoryTokensShape s{static_cast<int>(n), static_cast<int>(pixels), static_cast<int>(memories), static_cast<int>(heads),
                                    static_cast<int>(channels)};
    auto dqkv = at::empty({n, pixels, 3, heads, channels}, dq.options()), dmemory = float_empty(dq, {n, 2, heads, memories, channels});
    with_type(dq, [&](auto type) {
      using T = decltype(type);
      cuda::with_memory_backward<T>(s, elements<T>(dq), elements<T>(dk), elements<T>(dv), elements_of<T>(dqkv), elements_of<float>(dmemory),
                                    stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return {dqkv, dmemory};
  }
};

}  // namespace

const AttentionKernels& cuda_attention() {
  static const auto& kernels = *new CudaAttention;  // never destroyed: CUDA may be gone by then
  return kernels;
}

}  // namespace df::ops
