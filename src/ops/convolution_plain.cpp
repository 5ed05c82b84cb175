// SPDX-License-Identifier: MIT
#include <ATen/ATen.h>

#include <array>
#include <tuple>
#include <utility>

#include "ops/convolution_passes.hpp"

namespace df::ops::plain {

namespace {

// Of the images and of the weight; the one that is not asked for stays undefined.
std::tuple<Tensor, Tensor> gradients(const Tensor& dy, const Tensor& x, const Tensor& w, ConvolutionStep step, bool of_x) {
  const std::array<int64_t, 2> stride = {step.stride, step.stride}, padding = {step.padding, step.padding};
  auto [dx, dw, none] = at::convolution_backward(dy, x, w, at::OptionalIntArrayRef(), stride, padding, at::IntArrayRef{1, 1}, false,
                                                 at::IntArrayRef{0, 0}, 1, {of_x, !of_x, false});
  return {std::move(dx), std::move(dw)};
}

}  // namespace

Tensor convolution_forward(const Tensor& x, const Tensor& w, ConvolutionStep step) {
  return at::conv2d(x, w, {}, step.stride, step.padding);
}

Tensor convolution_backward(const Tensor& dy, const Tensor& x, const Tensor& w, ConvolutionStep step) {
  return std::get<0>(gradients(dy, x, w, step, true));
}

Tensor convolution_weight(const Tensor& dy, const Tensor& x, const Tensor& w, ConvolutionStep step) {
  return std::get<1>(gradients(dy, x, w, step, false));
}

}  // namespace df::ops::plain
