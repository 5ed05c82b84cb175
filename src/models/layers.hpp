// SPDX-License-Identifier: MIT
// Layers of the backbones over plain tensor operators, with PyTorch's default initial weights drawn from a given generator.
// Every forward is const: threads may share a model.
#pragma once

#include <ATen/core/Generator.h>
#include <torch/nn/module.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "diffusion_forcing/core/tensor.hpp"
#include "ops/convolution.hpp"
#include "ops/convolution_passes.hpp"

namespace df::layers {

using torch::nn::Module;

// Makes a T, registers it and returns it.
template <class T, class... Args>
std::shared_ptr<T> add(Module& parent, const std::string& name, Args&&... args) {
  return parent.register_module(name, std::make_shared<T>(std::forward<Args>(args)...));
}

// A node of the parameter tree without parameters of its own.
class Group : public Module {};

// U(-bound, bound), to be registered as a parameter.
Tensor uniform_weight(at::IntArrayRef sizes, double bound, at::Generator generator);

// What each image of a call has in place of a parameter. Where all images share a bias, say, there is still a row of it for each image: an
// operator then leaves each image's gradient as it is, and one sum where the rows were made serves all images and tokens.
class ImageVectors {
 public:
  void add(const Tensor& parameter, const Tensor& rows) { rows_.emplace(parameter.unsafeGetTensorImpl(), rows); }
  // all: the rows of several parameters beside each other.
  void add(const std::vector<Tensor>& parameters, const Tensor& all);
  // [N, n] for a parameter of n numbers; undefined where there are no rows of it.
  Tensor of(const Tensor& parameter) const;
  // The same, with the parameter for each of the images where there are no rows of it; undefined like the parameter.
  Tensor of(const Tensor& parameter, int64_t images) const;

 private:
  std::unordered_map<const at::TensorImpl*, Tensor> rows_;
};

// What a call of a network has besides its images. Blocks take it as their last argument and hand it on: block(images, call).
struct Call {
  ImageVectors vectors = {};
  const ops::SharedWeights* shared = nullptr;  // of the sequence that the call is a token of; null: weights are taken as they are
};

class Linear : public Module {
 public:
  Linear(int64_t in, int64_t out, at::Generator generator);
  Tensor operator()(const Tensor& x) const;  // [..., in] -> [..., out]
  const Tensor& weight() const { return weight_; }
  const Tensor& bias() const { return bias_; }

 private:
  Tensor weight_, bias_;
};

// The output of a convolution, and its bias where the operator that follows has to add it.
struct Unbiased {
  Tensor x, bias;
};

// What convolutions of images have in common.
class Convolution : public Module {
 public:
  // With its bias, plus the residual, which may be undefined.
  Tensor operator()(const Tensor& x, const Call& call, const Tensor& residual = {}) const;
  // Leaves the bias to the next operator where that is faster.
  Unbiased unbiased(const Tensor& x, const Call& call) const;
  Tensor without_bias(const Tensor& x, const Call& call) const { return convolve(x, {}, call); }
  const Tensor& bias() const { return bias_; }
  using Module::to;
  void to(torch::Device device, torch::Dtype dtype, bool non_blocking = false) override;
  void to(torch::Device device, bool non_blocking = false) override;

 protected:
  // sizes: of the weight, output channels first.
  Convolution(at::IntArrayRef sizes, bool bias, at::Generator generator);
  virtual Tensor convolve(const Tensor& x, const Tensor& bias, const Call& call) const = 0;  // the bias may be undefined
  virtual Tensor biased(const Tensor& x, const Tensor& bias, const Call& call) const;        // by image, [N, out]
  const Tensor& weight() const { return weight_; }

 private:
  void arrange();  // the weight as the activations of its device lie, so that no call has to rearrange it
  Tensor weight_, bias_;
};

// Stride 1, size kept: [N, in, H, W] -> [N, out, H, W].
class Conv2d : public Convolution {
 public:
  Conv2d(int64_t in, int64_t out, int64_t kernel, bool bias, at::Generator generator)
      : Convolution({out, in, kernel, kernel}, bias, std::move(generator)), padding_(kernel / 2) {}
  using Convolution::operator();
  // Of images beside each other in their channels; channels beyond `in` do not count.
  Tensor operator()(const ops::ImagePair& x, const Call& call) const;
  // Without the bias; and x for another use, whose gradient is added while that of the convolution is computed.
  std::pair<Tensor, Tensor> without_bias_and_images(const Tensor& x, const Call& call) const;
  // This and another one of the same two images, without biases; nothing where kernels want the images joined.
  std::optional<std::pair<Tensor, Tensor>> twice(const Conv2d& other, const ops::ImagePair& x, const Call& call) const;
  // Without the bias, of images that have zeros for further channels, and has such itself (ops::padded_convolution).
  Tensor padded(const Tensor& x, const Call& call) const;

 private:
  ops::ConvolutionWeight weight_of(const Call& call) const { return {weight(), call.shared}; }
  Tensor convolve(const Tensor& x, const Tensor& bias, const Call& call) const override;
  Tensor biased(const Tensor& x, const Tensor& bias, const Call& call) const override;
  int64_t padding_;
};

class GroupNorm : public Module {
 public:
  static constexpr int64_t groups = 8;
  explicit GroupNorm(int64_t channels);
  // silu(norm(x) * (1 + scale) + shift) + residual, with scale and shift in `modulation` [N, 2 C]; both may be undefined.
  Tensor film_silu(const Tensor& x, const Tensor& modulation, const Tensor& residual) const;
  const Tensor& weight() const { return weight_; }
  const Tensor& bias() const { return bias_; }

 private:
  Tensor weight_, bias_;
};

// x / ||x|| sqrt(C) g over the channels.
class RmsNorm : public Module {
 public:
  explicit RmsNorm(int64_t channels);
  // [N, C, H, W], plus the residual where there is one.
  Tensor operator()(const Unbiased& x, const Call& call, const Tensor& residual = {}) const;
  // And x for another use, whose gradient is added while that of the norm is computed.
  std::pair<Tensor, Tensor> and_images(const Tensor& x, const Call& call) const;
  const Tensor& g() const { return g_; }

 private:
  Tensor g_;
};

// sin and cos of the authors' time index t = k - 1 at `dim` / 2 frequencies. The frequencies are no part of the state.
class SinusoidalEmbedding : public Module {
 public:
  explicit SinusoidalEmbedding(int64_t dim);
  Tensor operator()(const Tensor& k) const;  // int64 [N] -> [N, dim], computed in float32, in the dtype of the weights
  void to(torch::Device device, torch::Dtype dtype, bool non_blocking = false) override;
  void to(torch::Dtype dtype, bool non_blocking = false) override;
  void to(torch::Device device, bool non_blocking = false) override;

 private:
  Tensor frequencies_;  // float32 [dim / 2]
  at::ScalarType dtype_ = at::kFloat;
};

// Children `first` and `second`: Linear, GELU, Linear.
class GeluMlp : public Module {
 public:
  GeluMlp(int64_t in, int64_t hidden, int64_t out, const std::string& first, const std::string& second, at::Generator generator);
  Tensor operator()(const Tensor& x) const;
  const Linear& first() const { return *first_; }
  const Linear& second() const { return *second_; }

 private:
  std::shared_ptr<Linear> first_, second_;
};

// time_mlp: embedding of `dim`, then Linear(dim, out), GELU, Linear(out, out).
class TimeMlp : public Module {
 public:
  TimeMlp(int64_t dim, int64_t out, at::Generator generator);
  Tensor operator()(const Tensor& k) const;  // int64 [N] -> [N, out]

 private:
  std::shared_ptr<SinusoidalEmbedding> embedding_;
  std::shared_ptr<Linear> first_, second_;
};

}  // namespace df::layers
