// SPDX-License-Identifier: MIT
#include "ops/convolution_passes.hpp"

#include <ATen/ATen.h>

#include "ops/image.hpp"
#include "ops/image_layout.hpp"
#include "ops/kernels.hpp"

namespace df::ops {

namespace {

// Those that may have something for the convolution: they believe that x and w agree, and read whole vectors of channels.
const ConvolutionKernels* kernels_for(const ImagePair& x, const Tensor& w, ConvolutionStep step) {
  const bool keeps_size = w.size(2) == w.size(3) && step.stride == 1 && w.size(2) == 2 * step.padding + 1;
  const bool channels = x.channels() == w.size(1) && w.size(1) % 8 == 0;
  return keeps_size && channels ? kernels(w.device()).convolutions : nullptr;
}

Tensor plus(Tensor dx, const Tensor& more) { return more.defined() ? dx.add_(more) : dx; }

}  // namespace

Tensor joined(const ImagePair& x) { return x.second.defined() ? concatenate(x.first, x.second) : x.first; }

bool takes_pair(const ImagePair& x, const Tensor& w, ConvolutionStep step) {
  const auto* own = kernels_for(x, w, step);
  if (!own || !own->has_convolution(x, w) || !own->has_convolution_weights(x, x.first, w)) return false;
  const Tensor dy = x.first.narrow(1, 0, 1).expand({-1, w.size(0), -1, -1});  // of the sizes that it will have
  return own->has_convolution_backward(dy, w, x.first.size(1), x.channels() - x.first.size(1));
}

Tensor convolution_forward(const ImagePair& x, const Tensor& w, ConvolutionStep step, const Tensor& bias) {
  if (const auto* own = kernels_for(x, w, step); own && own->has_convolution(x, w)) return own->convolution(x, w, float_rows(bias));
  const Tensor y = plain::convolution_forward(joined(x), w, step);
  return bias.defined() ? add_bias(y, bias, {}) : y;
}

ImagePair convolution_backward(const Tensor& dy, const ImagePair& x, const Tensor& w, ConvolutionStep step, int64_t first, int64_t second,
                               const ImagePair& more) {
  if (const auto* own = kernels_for(x, w, step); own && own->has_convolution_backward(dy, w, first, second)) {
    return own->convolution_backward(channels_last(dy), w, first, second, {channels_last(more.first), channels_last(more.second)});
  }
  const int64_t channels = first + second;
  const Tensor dx = plain::convolution_backward(dy, joined(x).narrow(1, 0, channels), w.narrow(1, 0, channels), step);
  if (second == 0) return {plus(dx, more.first), {}};
  return {plus(dx.narrow(1, 0, first), more.first), plus(dx.narrow(1, first, second), more.second)};
}

Tensor convolution_weight(const Tensor& dy, const ImagePair& x, const Tensor& w, ConvolutionStep step) {
  return plain::convolution_weight(dy, joined(x), w, step);
}

bool adds_weights(const Tensor& dy, const ImagePair& x, const Tensor& w, ConvolutionStep step) {
  const auto* own = kernels_for(x, w, step);
  return own && own->has_convolution_weights(x, dy, w);
}

Tensor add_weights(ConvolutionBatches batches, int64_t side, const Tensor& more) {
  for (Tensor& dy : batches.dy) dy = channels_last(dy);
  return kernels(batches.dy.front().device()).convolutions->convolution_weights(batches, side, more);
}

}  // namespace df::ops
