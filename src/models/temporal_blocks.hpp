// SPDX-License-Identifier: MIT
// Building blocks of Diffuser's network, with the authors' parameter names. Frames are the pixels of images one pixel high, [N, C, 1, H],
// so that convolutions and norms of images do their work; the parameters keep the authors' shapes.
#pragma once

#include <memory>
#include <vector>

#include "models/layers.hpp"

namespace df::layers {

// [N, H, D] -> [N, C, 1, H], channels innermost on a device with kernels; C is D, there with zeros to a multiple of 8.
Tensor image_of_frames(const Tensor& frames);

// [N, in, 1, H] -> [N, out, 1, H / stride]. The input may have more channels, which do not count. On a device with kernels the output has
// zeros to a multiple of 8; a bias then has to be left to others.
class Conv1d : public Convolution {
 public:
  Conv1d(int64_t in, int64_t out, int64_t kernel, int64_t stride, at::Generator generator)
      : Convolution({out, in, kernel}, true, std::move(generator)), stride_(stride), padding_(kernel / 2) {}

 private:
  Tensor convolve(const Tensor& x, const Tensor& bias, const Call& call) const override;
  int64_t stride_, padding_;
};

// A transposed convolution to twice the frames.
class DoublingConv1d : public Convolution {
 public:
  DoublingConv1d(int64_t channels, at::Generator generator) : Convolution({channels, channels, 4}, true, std::move(generator)) {}

 private:
  Tensor convolve(const Tensor& x, const Tensor& bias, const Call& call) const override;
};

// Convolution, GroupNorm, Mish. Children "block.0" and "block.2": the authors have reshapes in between.
class ConvBlock : public Module {
 public:
  ConvBlock(int64_t in, int64_t out, int64_t kernel, at::Generator generator);
  // Adds the parameters that all images share and that a call has vectors for on a device with kernels.
  void vectors(std::vector<Tensor>& all) const { all.insert(all.end(), {conv_->bias(), scale_, shift_}); }
  // Plus the residual and its bias [N, out], which may be undefined.
  Tensor operator()(const Tensor& x, const Call& call, const Unbiased& residual = {}) const;

 private:
  std::shared_ptr<Conv1d> conv_;
  Tensor scale_, shift_;
};

class ResidualTemporalBlock : public Module {
 public:
  ResidualTemporalBlock(int64_t in, int64_t out, int64_t time, int64_t kernel, at::Generator generator);
  // Maps Mish(time embedding) [N, time] to what is added to the channels, [N, out].
  const Linear& time() const { return *time_; }
  void vectors(std::vector<Tensor>& all) const;
  // The call has vectors in place of the bias of time(), what it gives; and with kernels in place of vectors().
  Tensor operator()(const Tensor& x, const Call& call) const;

 private:
  std::shared_ptr<ConvBlock> first_, second_;
  std::shared_ptr<Linear> time_;
  std::shared_ptr<Conv1d> shortcut_;  // only where in != out
};

// Sinusoids of the authors' time index, Linear, Mish, Linear. Children "1" and "3" as there.
class TimeEmbedding : public Module {
 public:
  TimeEmbedding(int64_t dim, at::Generator generator);
  Tensor operator()(const Tensor& k) const;  // int64 [N] -> [N, dim]

 private:
  std::shared_ptr<SinusoidalEmbedding> sinusoids_;
  std::shared_ptr<Linear> first_, second_;
};

}  // namespace df::layers
