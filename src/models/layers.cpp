// SPDX-License-Identifier: MIT
#include "models/layers.hpp"

#include <ATen/ATen.h>

#include <cmath>

#include "ops/image.hpp"
#include "ops/image_layout.hpp"

namespace df::layers {

Tensor uniform_weight(at::IntArrayRef sizes, double bound, at::Generator generator) {
  return at::empty(sizes, at::kFloat).uniform_(-bound, bound, std::move(generator));
}

Tensor ImageVectors::of(const Tensor& parameter) const {
  const auto found = rows_.find(parameter.unsafeGetTensorImpl());
  return found == rows_.end() ? Tensor() : found->second;
}

Tensor ImageVectors::of(const Tensor& parameter, int64_t images) const {
  const Tensor own = of(parameter);
  return own.defined() || !parameter.defined() ? own : parameter.flatten().expand({images, -1});
}

void ImageVectors::add(const std::vector<Tensor>& parameters, const Tensor& all) {
  std::vector<int64_t> sizes;
  for (const Tensor& parameter : parameters) sizes.push_back(parameter.numel());
  const auto parts = all.split_with_sizes(sizes, 1);
  for (size_t i = 0; i < parts.size(); ++i) add(parameters[i], parts[i]);
}

Linear::Linear(int64_t in, int64_t out, at::Generator generator) {
  const double bound = 1.0 / std::sqrt(static_cast<double>(in));
  weight_ = register_parameter("weight", uniform_weight({out, in}, bound, generator));
  bias_ = register_parameter("bias", uniform_weight({out}, bound, generator));
}

Tensor Linear::operator()(const Tensor& x) const { return at::linear(x, weight_, bias_); }

Convolution::Convolution(at::IntArrayRef sizes, bool bias, at::Generator generator) {
  const double bound = 1.0 / std::sqrt(static_cast<double>(c10::multiply_integers(sizes.slice(1))));
  weight_ = register_parameter("weight", uniform_weight(sizes, bound, generator));
  if (bias) bias_ = register_parameter("bias", uniform_weight({sizes[0]}, bound, generator));
}

Tensor Convolution::operator()(const Tensor& x, const Call& call, const Tensor& residual) const {
  const Tensor bias = call.vectors.of(bias_);
  if (bias.defined()) return residual.defined() ? ops::add_bias(without_bias(x, call), bias, residual) : biased(x, bias, call);
  const Tensor y = convolve(x, bias_, call);
  return residual.defined() ? residual + y : y;
}

Tensor Convolution::biased(const Tensor& x, const Tensor& bias, const Call& call) const {
  return ops::add_bias(without_bias(x, call), bias, {});
}

void Convolution::to(torch::Device device, torch::Dtype dtype, bool non_blocking) {
  Module::to(device, dtype, non_blocking);
  arrange();
}
void Convolution::to(torch::Device device, bool non_blocking) {
  Module::to(device, non_blocking);
  arrange();
}
void Convolution::arrange() {
  if (ops::fused(weight_.device())) weight_.set_data(ops::arranged_weight(weight_.detach()));
}

Unbiased Convolution::unbiased(const Tensor& x, const Call& call) const {
  if (ops::fused(x.device())) return {without_bias(x, call), bias_};
  return {(*this)(x, call), {}};
}

Tensor Conv2d::operator()(const ops::ImagePair& x, const Call& call) const {
  const Tensor own = call.vectors.of(bias());
  if (!own.defined()) return (*this)(at::cat({x.first, x.second}, 1), call);
  return ops::convolution_of_both(x.first, x.second, weight_of(call), own, padding_);
}

Tensor Conv2d::convolve(const Tensor& x, const Tensor& bias, const Call& call) const {
  return ops::convolution(x, weight_of(call), bias, 1, padding_);
}

Tensor Conv2d::biased(const Tensor& x, const Tensor& bias, const Call& call) const {
  return ops::biased_convolution(x, weight_of(call), bias, padding_);
}

std::pair<Tensor, Tensor> Conv2d::without_bias_and_images(const Tensor& x, const Call& call) const {
  return ops::convolution_and_images(x, weight_of(call), padding_);
}

std::optional<std::pair<Tensor, Tensor>> Conv2d::twice(const Conv2d& other, const ops::ImagePair& x, const Call& call) const {
  return ops::convolve_twice(x.first, x.second, weight_of(call), other.weight_of(call));
}

Tensor Conv2d::padded(const Tensor& x, const Call& call) const { return ops::padded_convolution(x, weight_of(call), padding_); }

GroupNorm::GroupNorm(int64_t channels) {
  weight_ = register_parameter("weight", at::ones({channels}));
  bias_ = register_parameter("bias", at::zeros({channels}));
}

Tensor GroupNorm::film_silu(const Tensor& x, const Tensor& modulation, const Tensor& residual) const {
  Tensor h = at::group_norm(x, groups, weight_, bias_, ops::group_eps);
  if (modulation.defined()) {
    const auto halves = modulation.unsqueeze(-1).unsqueeze(-1).chunk(2, 1);  // [N, C, 1, 1]
    h = at::addcmul(halves[1], h, halves[0] + 1);
  }
  h = at::silu(h);
  return residual.defined() ? h + residual : h;
}

RmsNorm::RmsNorm(int64_t channels) { g_ = register_parameter("g", at::ones({1, channels, 1, 1})); }

Tensor RmsNorm::operator()(const Unbiased& x, const Call& call, const Tensor& residual) const {
  const int64_t images = x.x.size(0);
  return ops::rms_norm(x.x, call.vectors.of(x.bias, images), call.vectors.of(g_, images), residual);
}

std::pair<Tensor, Tensor> RmsNorm::and_images(const Tensor& x, const Call& call) const {
  return ops::rms_norm_and_images(x, call.vectors.of(g_, x.size(0)));
}

SinusoidalEmbedding::SinusoidalEmbedding(int64_t dim) {
  const double step = std::log(10000.0) / static_cast<double>(dim / 2 - 1);
  frequencies_ = at::exp(at::arange(dim / 2, at::kFloat) * -step);
}

Tensor SinusoidalEmbedding::operator()(const Tensor& k) const {
  const Tensor angle = (k - 1).unsqueeze(-1) * frequencies_;
  return at::cat({angle.sin(), angle.cos()}, -1).to(dtype_);
}

void SinusoidalEmbedding::to(torch::Device device, torch::Dtype dtype, bool non_blocking) {
  to(device, non_blocking);
  to(dtype, non_blocking);
}
void SinusoidalEmbedding::to(torch::Dtype dtype, bool) { dtype_ = dtype; }
void SinusoidalEmbedding::to(torch::Device device, bool non_blocking) { frequencies_ = frequencies_.to(device, non_blocking); }

GeluMlp::GeluMlp(int64_t in, int64_t hidden, int64_t out, const std::string& first, const std::string& second, at::Generator generator)
    : first_(add<Linear>(*this, first, in, hidden, generator)), second_(add<Linear>(*this, second, hidden, out, generator)) {}

Tensor GeluMlp::operator()(const Tensor& x) const { return (*second_)(at::gelu((*first_)(x))); }

TimeMlp::TimeMlp(int64_t dim, int64_t out, at::Generator generator)
    : embedding_(add<SinusoidalEmbedding>(*this, "0", dim)),
      first_(add<Linear>(*this, "1", dim, out, generator)),
      second_(add<Linear>(*this, "3", out, out, generator)) {}

Tensor TimeMlp::operator()(const Tensor& k) const { return (*second_)(at::gelu((*first_)((*embedding_)(k)))); }

}  // namespace df::layers
