// SPDX-License-Identifier: MIT
// Convolutions of the U-Nets on a device, by cuDNN and by the kernels here: forward, gradient of the images, and gradient of the weights,
// which the kernels here add up over the nine tokens of a sequence. TFLOP/s are those of the kernels here.
//   bench_convolutions [device] [seconds per measurement]
#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <array>
#include <cstdlib>
#include <string>
#include <tuple>
#include <vector>

#include "comparison.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "guarded_main.hpp"
#include "ops/convolution_passes.hpp"
#include "ops/image.hpp"
#include "ops/kernels.hpp"

namespace df {
namespace {

using bench::Comparison;

constexpr int tokens = 9;
constexpr const char* unit = "TFLOP/s";

struct Sizes {
  int64_t in, out, size, side = 3, with_gradient = in;  // of the input channels the first, that have a gradient
};

void convolution(const Comparison& compare, const ops::ConvolutionKernels& kernels, const Sizes& s, int64_t n) {
  const Tensor x = compare.image(n, s.in, s.size), dy = compare.image(n, s.out, s.size), w = compare.image(s.out, s.in, s.side);
  const auto gradient = [&](bool of_x) {
    const std::array<int64_t, 2> padding = {s.side / 2, s.side / 2};
    return at::convolution_backward(dy, x, w, at::OptionalIntArrayRef(), {1, 1}, padding, {1, 1}, false, {0, 0}, 1, {of_x, !of_x, false});
  };
  const auto flop = 2 * static_cast<double>(n * s.in * s.out * s.size * s.size * s.side * s.side);
  const auto name = fmt::format("{} x {} x {} x {} to {} by {}", n, s.in, s.size, s.size, s.out, s.side);
  if (kernels.has_convolution({x, {}}, w))
    compare.print(
        name, flop, [&] { at::conv2d(x, w, {}, 1, s.side / 2); },
        [&] {
          kernels.convolution({x, {}}, w, {});
        },
        unit);
  if (kernels.has_convolution_backward(dy, w, s.with_gradient, 0))
    compare.print(
        "   gradient of images, " + name, flop * s.with_gradient / s.in, [&] { gradient(true); },
        [&] { kernels.convolution_backward(dy, w, s.with_gradient, 0, {}); }, unit);
  if (!kernels.has_convolution_weights({x, {}}, dy, w)) return;
  ops::ConvolutionBatches batches;
  for (int i = 0; i < tokens; ++i) {
    batches.x.push_back({i == 0 ? x : x.clone(), {}});
    batches.dy.push_back(i == 0 ? dy : dy.clone());
  }
  compare.print(
      "   gradient of weights, " + name, tokens * flop,
      [&] {
        for (int i = 0; i < tokens; ++i) gradient(false);
      },
      [&] { kernels.convolution_weights(batches, s.side, {}); }, unit);
}

// Of two images beside each other in their channels, joined first and as they are.
void pair(const Comparison& compare, const ops::Kernels& all, int64_t side, int64_t n) {
  const ops::ConvolutionKernels& kernels = *all.convolutions;
  const ops::ImageKernels& images = *all.images;
  const ops::ImagePair x{compare.image(n, 48, 64), compare.image(n, 48, 64)};
  const Tensor w = compare.image(48, 96, side), dy = compare.image(n, 48, 64);
  const double flop = 2.0 * 96 * 48 * static_cast<double>(n * 64 * 64 * side * side);
  const auto joined = [&] { return images.concatenate(x.first, x.second); };
  const std::array<int64_t, 2> padding = {side / 2, side / 2};
  const auto name = fmt::format("{} x (48 + 48) x 64 x 64 to 48 by {}", n, side);
  compare.print(
      name, flop, [&] { at::conv2d(joined(), w, {}, 1, side / 2); }, [&] { kernels.convolution(x, w, {}); }, unit);
  compare.print(
      "   gradient of both", flop,
      [&] {
        const auto dx = std::get<0>(at::convolution_backward(dy, joined(), w, at::OptionalIntArrayRef(), {1, 1}, padding, {1, 1}, false,
                                                             {0, 0}, 1, {true, false, false}));
        images.gather(dx.narrow(1, 0, 48), 96, {});
        images.gather(dx.narrow(1, 48, 48), 96, x.second);
      },
      [&] {
        kernels.convolution_backward(dy, w, 48, 48, {{}, x.second});
      },
      unit);
}

int run(int argc, char** argv) {
  const at::NoGradGuard no_grad;
  const auto& on = accelerator(argc > 1 ? argv[1] : "auto");
  const auto* kernels = ops::kernels(on.device()).convolutions;
  if (!kernels) throw Error("no kernels for " + on.description());
  at::globalContext().setBenchmarkLimitCuDNN(0);
  const auto stream = on.use_stream();
  const Comparison compare(on, argc > 2 ? std::atof(argv[2]) : 0.2);
  fmt::print("{}\n", on.description());
  const std::vector<Sizes> dmlab = {{48, 48, 64}, {96, 48, 64},   {32, 48, 64, 7, 16}, {48, 48, 32},  {144, 96, 32}, {96, 96, 32},
                                    {96, 96, 16}, {288, 192, 16}, {192, 192, 8},       {384, 384, 8}, {576, 384, 8}},
                           video = {{64, 64, 32}, {128, 64, 32}, {128, 128, 16}, {256, 256, 8}, {512, 256, 8}};
  for (const Sizes& sizes : dmlab) convolution(compare, *kernels, sizes, 32);
  for (const Sizes& sizes : video) convolution(compare, *kernels, sizes, 32);
  convolution(compare, *kernels, {16, 16, 64}, 288);
  for (const int64_t side : {3, 1}) pair(compare, ops::kernels(on.device()), side, 32);
  for (const int64_t batch : {8, 16, 50, 100})
    for (const size_t i : {0, 1}) convolution(compare, *kernels, dmlab[i], batch);
  return 0;
}

}  // namespace
}  // namespace df

int main(int argc, char** argv) { return df::bench::guarded_main("bench_convolutions", df::run, argc, argv); }
