// SPDX-License-Identifier: MIT
#include "models/convolution.hpp"

#include <ATen/ATen.h>

#include <array>
#include <tuple>
#include <utility>

#include "models/ops.hpp"

namespace df::ops {

namespace {

// Those that may have something for the convolution: they believe that x and w agree, and read whole vectors of channels.
const FusedKernels* kernels_for(const ImagePair& x, const Tensor& w, ConvolutionStep step) {
  const bool keeps_size = w.size(2) == w.size(3) && step.stride == 1 && w.size(2) == 2 * step.padding + 1;
  const bool channels = x.channels() == w.size(1) && w.size(1) % 8 == 0;
  return keeps_size && channels ? fused_kernels(w.device()) : nullptr;
}

std::tuple<Tensor, Tensor> gradients(const Tensor& dy, const Tensor& x, const Tensor& w, ConvolutionStep step, bool of_x) {
  const std::array<int64_t, 2> stride = {step.stride, step.stride}, padding = {step.padding, step.padding};
  auto [dx, dw, none] = at::convolution_backward(dy, x, w, at::OptionalIntArrayRef(), stride, padding, at::IntArrayRef{1, 1}, false,
                                                 at::IntArrayRef{0, 0}, 1, {of_x, !of_x, false});
  return {std::move(dx), std::move(dw)};
}

Tensor plus(Tensor dx, const Tensor& more) { return more.defined() ? dx.add_(more) : dx; }

}  // namespace

Tensor joined(const ImagePair& x) { return x.second.defined() ? concatenate(x.first, x.second) : x.first; }

bool takes_pair(const ImagePair& x, const Tensor& w, ConvolutionStep step) {
  const auto* kernels = kernels_for(x, w, step);
  if (!kernels || !kernels->has_convolution(x, w) || !kernels->has_convolution_weights(x, x.first, w)) return false;
  const Tensor dy = x.first.narrow(1, 0, 1).expand({-1, w.size(0), -1, -1});  // of the sizes that it will have
  return kernels->has_convolution_backward(dy, w, x.first.size(1), x.channels() - x.first.size(1));
}

Tensor convolution(const ImagePair& x, const Tensor& w, ConvolutionStep step, const Tensor& bias) {
  if (const auto* kernels = kernels_for(x, w, step); kernels && kernels->has_convolution(x, w))
    return kernels->convolution(x, w, float_rows(bias));
  const Tensor y = at::conv2d(joined(x), w, {}, step.stride, step.padding);
  return bias.defined() ? add_bias(y, bias, {}) : y;
}

ImagePair convolution_backward(const Tensor& dy, const ImagePair& x, const Tensor& w, ConvolutionStep step, int64_t first, int64_t second,
                               const ImagePair& more) {
  if (const auto* kernels = kernels_for(x, w, step); kernels && kernels->has_convolution_backward(dy, w, first, second)) {
    return kernels->convolution_backward(channels_last(dy), w, first, second, {channels_last(more.first), channels_last(more.second)});
  }
  const int64_t channels = first + second;
  const Tensor dx = std::get<0>(gradients(dy, joined(x).narrow(1, 0, channels), w.narrow(1, 0, channels), step, true));
  if (second == 0) return {plus(dx, more.first), {}};
  return {plus(dx.narrow(1, 0, first), more.first), plus(dx.narrow(1, first, second), more.second)};
}

Tensor convolution_weight(const Tensor& dy, const ImagePair& x, const Tensor& w, ConvolutionStep step) {
  return std::get<1>(gradients(dy, joined(x), w, step, false));
}

bool adds_weights(const Tensor& dy, const ImagePair& x, const Tensor& w, ConvolutionStep step) {
  const auto* kernels = kernels_for(x, w, step);
  return kernels && kernels->has_convolution_weights(x, dy, w);
}

Tensor add_weights(ConvolutionBatches batches, int64_t side, const Tensor& more) {
  for (Tensor& dy : batches.dy) dy = channels_last(dy);
  return fused_kernels(batches.dy.front().device())->convolution_weights(batches, side, more);
}

}  // namespace df::ops
