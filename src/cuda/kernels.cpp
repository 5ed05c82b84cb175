// SPDX-License-Identifier: MIT
#include "cuda/kernels.hpp"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>

#include "cuda/arguments.hpp"
#include "cuda/cell_moves.cuh"
#include "cuda/concatenate.cuh"
#include "cuda/convolution_kernels.hpp"
#include "cuda/group_norm.cuh"
#include "cuda/image_bias.cuh"
#include "cuda/linear_attention.cuh"
#include "cuda/memory_tokens.cuh"
#include "cuda/pointwise.cuh"
#include "cuda/rms_norm.cuh"
#include "cuda/token_error.cuh"
#include "cuda/token_layers.cuh"
#include "cuda/token_network.hpp"
#include "cuda/upsample.cuh"

namespace df {

namespace {

class CudaKernels final : public ConvolutionKernels {
 public:
  GroupNormOutput group_norm(const GroupNormInput& in) const override {
    const c10::cuda::CUDAGuard guard(in.x.device());
    const auto s = shape_of(in);
    GroupNormOutput out{like(in.x), float_empty(in.x, {s.images, 2 * s.groups + s.channels})};
    with_type_and_activation(in, [&](auto type, auto activation) {
      using T = decltype(type);
      constexpr Activation A = activation;
      if (at_once<T>(in, s)) {
        C10_CUDA_CHECK((cuda::group_norm_at_once<T, A>(s, parameters_of(in), elements<T>(in.x), elements<T>(in.residual),
                                                       elements_of<float>(out.stats), elements_of<T>(out.y), stream())));
        return;
      }
      auto partial = float_empty(in.x, {s.images, s.chunks, 2, s.channels});
      cuda::group_norm<T, A>(s, parameters_of(in), elements<T>(in.x), elements<T>(in.residual), elements_of<float>(partial),
                             elements_of<float>(out.stats), elements_of<T>(out.y), stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return out;
  }

  GroupNormGradient group_norm_backward(const GroupNormInput& in, const Tensor& stats, const Tensor& dy) const override {
    const c10::cuda::CUDAGuard guard(in.x.device());
    const auto s = shape_of(in);
    GroupNormGradient out;
    out.x = like(in.x);
    auto vectors = float_empty(in.x, {4, s.images, s.channels});
    with_type_and_activation(in, [&](auto type, auto activation) {
      using T = decltype(type);
      constexpr Activation A = activation;
      if (at_once<T>(in, s)) {
        C10_CUDA_CHECK((cuda::group_norm_backward_at_once<T, A>(s, parameters_of(in), elements<T>(in.x), elements<T>(dy), floats(stats),
                                                                elements_of<T>(out.x), elements_of<float>(vectors), stream())));
        return;
      }
      auto partial = float_empty(in.x, {s.images, s.chunks, 3, s.channels});
      cuda::group_norm_backward<T, A>(s, parameters_of(in), elements<T>(in.x), elements<T>(dy), floats(stats), elements_of<float>(partial),
                                      elements_of<T>(out.x), elements_of<float>(vectors), stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    out.gain = vectors[0];
    out.shift = vectors[1];
    if (in.x_bias.defined()) out.x_bias = vectors[2];
    if (in.residual_bias.defined()) out.residual_bias = vectors[3];
    return out;
  }

  Tensor add_bias(const Tensor& x, const Tensor& bias, const Tensor& residual) const override {
    const c10::cuda::CUDAGuard guard(x.device());
    auto y = like(x);
    with_type(x, [&](auto type) {
      using T = decltype(type);
      cuda::add_bias<T>(static_cast<int>(x.size(0)), static_cast<int>(x.size(2) * x.size(3)), static_cast<int>(x.size(1)), elements<T>(x),
                        image_vector(bias), elements<T>(residual), elements_of<T>(y), stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return y;
  }

  Tensor pixel_sums(const Tensor& x) const override {
    const c10::cuda::CUDAGuard guard(x.device());
    auto sums = float_empty(x, {x.size(0), x.size(1)});
    with_type(x, [&](auto type) {
      using T = decltype(type);
      cuda::pixel_sums<T>(static_cast<int>(x.size(0)), static_cast<int>(x.size(2) * x.size(3)), static_cast<int>(x.size(1)), elements<T>(x),
                          elements_of<float>(sums), stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return sums;
  }

  Tensor upsample(const Tensor& x) const override {
    const c10::cuda::CUDAGuard guard(x.device());
    auto y = at::empty({x.size(0), x.size(1), 2 * x.size(2), 2 * x.size(3)}, x.options(), at::MemoryFormat::ChannelsLast);
    with_type(x, [&](auto type) {
      using T = decltype(type);
      cuda::upsample<T>(static_cast<int>(x.size(0) * x.size(2)), static_cast<int>(x.size(3)), static_cast<int>(x.size(1)), elements<T>(x),
                        elements_of<T>(y), stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return y;
  }

  Tensor upsample_backward(const Tensor& dy) const override {
    const c10::cuda::CUDAGuard guard(dy.device());
    const int64_t height = dy.size(2) / 2, width = dy.size(3) / 2;
    auto dx = at::empty({dy.size(0), dy.size(1), height, width}, dy.options(), at::MemoryFormat::ChannelsLast);
    with_type(dy, [&](auto type) {
      using T = decltype(type);
      cuda::upsample_backward<T>(static_cast<int>(dy.size(0) * height), static_cast<int>(width), static_cast<int>(dy.size(1)),
                                 elements<T>(dy), elements_of<T>(dx), stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return dx;
  }

  Tensor concatenate(const Tensor& a, const Tensor& b) const override {
    const c10::cuda::CUDAGuard guard(a.device());
    auto y = images_like(a, a.size(1) + b.size(1));
    with_type(a, [&](auto type) {
      using T = decltype(type);
      cuda::concatenate<T>(static_cast<int>(a.numel() / a.size(1)), static_cast<int>(a.size(1)), static_cast<int>(b.size(1)),
                           elements<T>(a), elements<T>(b), elements_of<T>(y), stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return y;
  }

  Tensor gather(const Tensor& x, int64_t row, const Tensor& more) const override {
    const c10::cuda::CUDAGuard guard(x.device());
    auto y = like(x);
    with_type(x, [&](auto type) {
      using T = decltype(type);
      cuda::gather<T>(static_cast<int>(x.numel() / x.size(1)), static_cast<int>(x.size(1)), static_cast<int>(row), elements<T>(x),
                      elements<T>(more), elements_of<T>(y), stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return y;
  }

  Tensor rms_norm(const RmsNormInput& in) const override {
    const c10::cuda::CUDAGuard guard(in.x.device());
    auto y = like(in.x);
    with_type(in.x, [&](auto type) {
      using T = decltype(type);
      cuda::rms_norm<T>(shape_of(in), image_vector(in.x_bias), image_vector(in.g), elements<T>(in.x), elements<T>(in.residual),
                        elements_of<T>(y), stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return y;
  }

  RmsNormGradient rms_norm_backward(const RmsNormInput& in, const Tensor& dy, const Tensor& more) const override {
    const c10::cuda::CUDAGuard guard(in.x.device());
    RmsNormGradient out;
    out.x = like(in.x);
    auto vectors = float_empty(in.x, {in.x_bias.defined() ? 2 : 1, in.x.size(0), in.x.size(1)});
    with_type(in.x, [&](auto type) {
      using T = decltype(type);
      C10_CUDA_CHECK(cuda::rms_norm_backward<T>(shape_of(in), image_vector(in.x_bias), image_vector(in.g), elements<T>(in.x),
                                                elements<T>(dy), elements<T>(more), elements_of<T>(out.x), elements_of<float>(vectors),
                                                stream()));
    });
    out.g = vectors[0];
    if (in.x_bias.defined()) out.x_bias = vectors[1];
    return out;
  }

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

  void add_gelu(const Tensor& x, const Tensor& bias, const Tensor& residual, const Tensor& y) const override {
    const c10::cuda::CUDAGuard guard(x.device());
    with_type(x, [&](auto type) {
      using T = decltype(type);
      cuda::add_gelu<T>(static_cast<int>(x.size(0)), static_cast<int>(x.size(1)), rows_of<T>(x), elements<T>(bias), rows<T>(residual),
                        rows_of<T>(y), stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }

  void gelu_backward(const Tensor& dy, const Tensor& more, const Tensor& x, const Tensor& dx) const override {
    const c10::cuda::CUDAGuard guard(x.device());
    with_type(x, [&](auto type) {
      using T = decltype(type);
      cuda::gelu_backward<T>(static_cast<int>(x.size(0)), static_cast<int>(x.size(1)), rows<T>(dy), rows<T>(more), rows<T>(x),
                             rows_of<T>(dx), stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }

  void gru(const GruInput& in, const Tensor& y) const override {
    const c10::cuda::CUDAGuard guard(y.device());
    with_type(y, [&](auto type) {
      using T = decltype(type);
      cuda::gru<T>(static_cast<int>(y.size(0)), static_cast<int>(y.size(1)), rows<T>(in.from_x), rows<T>(in.from_z), rows<T>(in.z),
                   rows_of<T>(y), stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }

  void gru_backward(const GruInput& in, const Tensor& dy, const Tensor& dfrom_x, const Tensor& dfrom_z, const Tensor& dz) const override {
    const c10::cuda::CUDAGuard guard(dy.device());
    with_type(dy, [&](auto type) {
      using T = decltype(type);
      cuda::gru_backward<T>(static_cast<int>(dy.size(0)), static_cast<int>(dy.size(1)), rows<T>(in.from_x), rows<T>(in.from_z),
                            rows<T>(in.z), rows<T>(dy), rows_of<T>(dfrom_x), rows_of<T>(dfrom_z), rows_of<T>(dz), stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }

  CellInputs gather_cells(const Tensor& table, const Tensor& x, const Tensor& z) const override {
    const c10::cuda::CUDAGuard guard(x.device());
    const int64_t sequences = x.size(0), cells = table.size(1);
    const auto rows_for = [&](const Tensor& buffer) {
      std::vector<int64_t> sizes = buffer.sizes().slice(1).vec();
      sizes[0] = sequences * cells;
      return float_empty(buffer, sizes);
    };
    CellInputs in{rows_for(x), rows_for(z), at::empty({sequences * cells}, x.options().dtype(at::kLong))};
    cuda::gather_cells(table.const_data_ptr<int>(), static_cast<int>(sequences), static_cast<int>(cells), cell_buffer(x), cell_buffer(z),
                       elements_of<float>(in.shown), elements_of<float>(in.z), elements_of<long>(in.level), stream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return in;
  }

  void move_cells(const Tensor& table, const CellOutputs& outputs, const CellBounds& bounds, const Tensor& x,
                  const Tensor& z) const override {
    const c10::cuda::CUDAGuard guard(x.device());
    const Tensor noise = outputs.noise.defined() ? outputs.noise.contiguous() : Tensor();
    with_type(outputs.prediction, [&](auto prediction) {
      with_type(outputs.z, [&](auto latent) {
        cuda::move_cells(table.const_data_ptr<int>(), static_cast<int>(x.size(0)), static_cast<int>(table.size(1)), floats(outputs.shown),
                         cell_images<decltype(prediction)>(outputs.prediction), cell_images<decltype(latent)>(outputs.z), floats(noise),
                         static_cast<float>(bounds.prediction), static_cast<float>(bounds.x0), cell_buffer(x), cell_buffer(z), stream());
      });
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }

  Tensor mix_tokens(const TokenMix& mix) const override {
    const c10::cuda::CUDAGuard guard(mix.tokens().device());
    auto out = at::empty_like(mix.tokens());
    cuda::mix_tokens(token_mix(mix), elements_of<float>(out), stream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return out;
  }

  Tensor weighted_error(const TokenError& error) const override {
    const c10::cuda::CUDAGuard guard(error.prediction.device());
    const auto mix = token_mix(error.target);
    auto partial = float_empty(error.prediction, {cuda::error_blocks(mix)});
    with_type(error.prediction, [&](auto type) {
      cuda::weighted_error(mix, cell_images<decltype(type)>(error.prediction), floats(error.weight), static_cast<int>(error.weight.size(1)),
                           elements_of<float>(partial), stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return partial.sum() / error.prediction.numel();
  }

  Tensor weighted_error_backward(const TokenError& error, const Tensor& upstream) const override {
    const c10::cuda::CUDAGuard guard(error.prediction.device());
    auto gradient = at::empty_like(error.prediction);
    const Tensor scale = upstream.to(at::kFloat);
    with_type(error.prediction, [&](auto type) {
      using T = decltype(type);
      cuda::weighted_error_backward(token_mix(error.target), cell_images<T>(error.prediction), floats(error.weight),
                                    static_cast<int>(error.weight.size(1)), floats(scale), 1.0f / static_cast<float>(gradient.numel()),
                                    elements_of<T>(gradient), stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return gradient;
  }

  void token_layers(const TokenLayers& network) const override {
    const Tensor& first = network.layers[0].x;
    const c10::cuda::CUDAGuard guard(first.device());
    cuda::TokenNetwork all = token_network(network);
    const Tensor arrived = at::zeros({first.size(1)}, first.options().dtype(at::kInt));
    all.arrived = reinterpret_cast<unsigned*>(arrived.mutable_data_ptr<int>());
    C10_CUDA_CHECK(cuda::token_layers(all, multiprocessors(), stream()));
  }
};

}  // namespace

const FusedKernels& cuda_kernels() {
  static const auto& kernels = *new CudaKernels;
  return kernels;
}

}  // namespace df
