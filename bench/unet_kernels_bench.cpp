// SPDX-License-Identifier: MIT
// The U-Net's operators on a device, one way beside the other, on images as the two networks have them: microseconds of a call.
//   bench_unet_kernels [device] [seconds per measurement]
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "comparison.hpp"
#include "diffusion_forcing/core/accelerator.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "guarded_main.hpp"
#include "ops/attention.hpp"
#include "ops/image.hpp"
#include "ops/kernels.hpp"

namespace df {
namespace {

using bench::Comparison;

struct Images {
  int64_t channels, size;
};

void norms(const Comparison& compare, const ops::ImageKernels& kernels, const Images& shape, int64_t n) {
  const Tensor x = compare.image(n, shape.channels, shape.size), residual = compare.image(n, shape.channels, shape.size);
  const Tensor dy = compare.image(n, shape.channels, shape.size), vectors = compare.vectors(4, n, shape.channels);
  ops::GroupNormInput once{x, vectors[0], vectors[1], vectors[2], residual, vectors[3], 8, 1e-5}, twice = once;
  twice.at_once = false;
  const Tensor stats = kernels.group_norm(twice).stats;
  const std::string name = fmt::format("{} x {} x {} x {}", n, shape.channels, shape.size, shape.size);
  const auto bytes = static_cast<double>(x.nbytes());
  compare.print(
      "group norm, two kernels or one, " + name, 3 * bytes, [&] { kernels.group_norm(twice); }, [&] { kernels.group_norm(once); });
  compare.print(
      "   its gradient", 3 * bytes, [&] { kernels.group_norm_backward(twice, stats, dy); },
      [&] { kernels.group_norm_backward(once, stats, dy); });
}

// As a convolution adds its bias and computes its gradient, and as the U-Net does.
void biases(const Comparison& compare, const ops::ImageKernels& kernels, const Images& shape, int64_t n) {
  const Tensor x = compare.image(n, shape.channels, shape.size), bias = compare.vectors(1, n, shape.channels)[0];
  const Tensor shared = bias[0].to(at::kBFloat16).view({1, -1, 1, 1});
  const std::string name = fmt::format("{} x {} x {} x {}", n, shape.channels, shape.size, shape.size);
  const auto bytes = static_cast<double>(x.nbytes());
  compare.print(
      "bias, of a convolution or own, " + name, 2 * bytes, [&] { x + shared; }, [&] { kernels.add_bias(x, bias, {}); });
  compare.print(
      "   its gradient", bytes,
      [&] {
        x.sum({0, 2, 3});
      },
      [&] { kernels.pixel_sums(x); });
}

void upsampling(const Comparison& compare, const ops::ImageKernels& kernels, const Images& shape, int64_t n) {
  const Tensor x = compare.image(n, shape.channels, shape.size), dy = compare.image(n, shape.channels, 2 * shape.size);
  const auto bytes = static_cast<double>(x.nbytes());
  const std::vector<int64_t> size = dy.sizes().slice(2).vec();
  compare.print(
      fmt::format("upsampling by float32 or own, {} x {} x {} x {}", n, shape.channels, shape.size, shape.size), 5 * bytes,
      [&] { at::upsample_nearest2d(x.to(at::kFloat), size).to(at::kBFloat16); }, [&] { kernels.upsample(x); });
  compare.print(
      "   its gradient", 5 * bytes, [&] { at::upsample_nearest2d_backward(dy.to(at::kFloat), size, x.sizes()).to(at::kBFloat16); },
      [&] { kernels.upsample_backward(dy); });
}

// As torch concatenates, and takes the gradients of a skip connection apart and adds them, and as the U-Net does.
void skips(const Comparison& compare, const ops::ImageKernels& kernels, const Images& shape, int64_t n) {
  const int64_t c = shape.channels;
  const Tensor x = compare.image(n, c, shape.size), skip = compare.image(n, c, shape.size), dy = compare.image(n, 2 * c, shape.size);
  const auto bytes = static_cast<double>(x.nbytes());
  compare.print(
      fmt::format("concatenation, {} x {} x {} x {}", n, c, shape.size, shape.size), 4 * bytes,
      [&] {
        at::cat({x, skip}, 1);
      },
      [&] { kernels.concatenate(x, skip); });
  compare.print(
      "   its gradient, and that of another use added", 5 * bytes,
      [&] {
        dy.narrow(1, 0, c).contiguous(at::MemoryFormat::ChannelsLast);
        dy.narrow(1, c, c) + skip;
      },
      [&] {
        kernels.gather(dy.narrow(1, 0, c), 2 * c, {});
        kernels.gather(dy.narrow(1, c, c), 2 * c, skip);
      });
}

void linear_attention(const Comparison& compare, const ops::AttentionKernels& kernels, int64_t size, int64_t n) {
  constexpr int64_t heads = 4;
  const ops::LinearAttentionInput in{compare.image(n, 3 * heads * 32, size),
                                     compare.vectors(2 * heads, 32, 4).view({2, heads, 32, 4}).expand({n, -1, -1, -1, -1}), heads};
  const Tensor dout = compare.image(n, heads * 32, size);
  const auto out = kernels.linear_attention(in);
  const auto qkv = static_cast<double>(in.qkv.nbytes()), more = static_cast<double>(dout.nbytes());
  compare.print(fmt::format("linear attention, {} x {} heads x {} x {}", n, heads, size, size), qkv + more,
                [&] { kernels.linear_attention(in); });
  compare.print("   its gradient", 2 * qkv + more, [&] { kernels.linear_attention_backward(in, out, dout); });
}

// As torch joins keys and values with those of the memory, and takes their gradients apart, and as the U-Net does.
void memory_tokens(const Comparison& compare, const ops::AttentionKernels& kernels, int64_t size, int64_t n) {
  constexpr int64_t heads = 4, channels = 32, memories = 4;
  const Tensor qkv = compare.image(n, 3 * heads * channels, size).permute({0, 2, 3, 1}).view({n, size * size, 3, heads, channels});
  const Tensor memory = compare.vectors(n, 2 * heads * memories, channels).view({n, 2, heads, memories, channels});
  const Tensor kv = kernels.with_memory(qkv, memory), dq = qkv.select(2, 0).contiguous();
  const auto bytes = static_cast<double>(qkv.nbytes());
  compare.print(
      fmt::format("keys and values with memory, {} x {} heads x {} x {}", n, heads, size, size), bytes * 4 / 3,
      [&] {
        const auto extra = memory.to(at::kBFloat16).transpose(2, 3).unbind(1);
        for (size_t part = 0; part < 2; ++part) at::cat({extra[part], qkv.select(2, 1 + static_cast<int64_t>(part))}, 1);
      },
      [&] { kernels.with_memory(qkv, memory); });
  compare.print(
      "   their gradient", 2 * bytes,
      [&] {
        at::stack({dq, kv[0].slice(1, memories), kv[1].slice(1, memories)}, 2);
      },
      [&] { kernels.with_memory_backward(dq, kv[0], kv[1]); });
}

int run(int argc, char** argv) {
  const at::NoGradGuard no_grad;
  const auto& on = accelerator(argc > 1 ? argv[1] : "auto");
  const ops::Kernels& kernels = ops::kernels(on.device());
  if (!kernels.images || !kernels.attention) throw Error("no kernels for " + on.description());
  const auto stream = on.use_stream();
  const Comparison compare(on, argc > 2 ? std::atof(argv[2]) : 0.2);
  fmt::print("{}\n", on.description());
  const std::vector<Images> video = {{64, 32}, {64, 16}, {128, 16}, {128, 8}, {256, 8}}, dmlab = {{48, 64}, {96, 32}, {192, 16}, {384, 8}};
  for (const auto& [batch, network] : {std::pair{32, video}, std::pair{32, dmlab}, std::pair{1, dmlab}, std::pair{100, dmlab}})
    for (const Images& shape : network) {
      norms(compare, *kernels.images, shape, batch);
      biases(compare, *kernels.images, shape, batch);
      upsampling(compare, *kernels.images, shape, batch);
      skips(compare, *kernels.images, shape, batch);
    }
  for (const int64_t batch : {1, 32, 100})
    for (const int64_t size : {64, 32, 16}) {
      linear_attention(compare, *kernels.attention, size, batch);
      if (size < 64) memory_tokens(compare, *kernels.attention, size, batch);
    }
  return 0;
}

}  // namespace
}  // namespace df

int main(int argc, char** argv) { return df::bench::guarded_main("bench_unet_kernels", df::run, argc, argv); }
