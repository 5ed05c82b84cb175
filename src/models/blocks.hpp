// SPDX-License-Identifier: MIT
// Building blocks of the U-Net, with the authors' parameter names.
#pragma once

#include <memory>
#include <vector>

#include "diffusion_forcing/models/unet_gru.hpp"
#include "models/layers.hpp"

namespace df::layers {

// conv3x3, GroupNorm, FiLM, SiLU, conv3x3, GroupNorm, SiLU, plus the (projected) input.
class ResnetBlock : public Module {
 public:
  ResnetBlock(int64_t in, int64_t out, int64_t embedding, at::Generator generator);
  // Maps SiLU(embedding) [N, E] to the modulation, [N, 2 out]: what a noise level does to the block, h -> h * (1 + scale) + shift.
  const Linear& modulation() const { return *mlp_; }
  const GroupNorm& modulated() const { return *norm1_; }
  // Adds the parameters that all images share and that a call has vectors for on a device with kernels.
  void vectors(std::vector<Tensor>& all) const;
  // x: images, or two beside each other in their channels. The call's vectors hold the modulation, in place of modulation().weight(); with
  // kernels instead those of the modulated norm (gain for its weight, shift for its bias) and of vectors().
  Tensor operator()(const ops::ImagePair& x, const Call& call) const;

 private:
  Tensor plain(const Tensor& x, const Call& call) const;
  Tensor with_kernels(const ops::ImagePair& x, const Call& call) const;
  // What comes after the first convolution, whose output this is without the bias; and the residual, if a convolution then without its
  // bias.
  Tensor after_first(const Tensor& first, const Tensor& residual, const Call& call) const;

  std::shared_ptr<Linear> mlp_;
  std::shared_ptr<Conv2d> proj1_, proj2_, res_conv_;  // res_conv_ only where in != out
  std::shared_ptr<GroupNorm> norm1_, norm2_;
};

// x plus attention over its pixels, with 32 channels a head and four learned key-value pairs.
class PixelAttention : public Module {
 public:
  static constexpr int64_t head_channels = 32, memories = 4;
  virtual void vectors(std::vector<Tensor>& all) const = 0;
  // x [N, C, H, W]; the call may have vectors in place of vectors().
  virtual Tensor operator()(const Tensor& x, const Call& call) const = 0;
};

// Queries are normalised over channels and keys over pixels, so the cost is linear in H W (Shen et al. 2021).
class LinearAttention : public PixelAttention {
 public:
  LinearAttention(int64_t channels, int64_t heads, at::Generator generator);
  void vectors(std::vector<Tensor>& all) const override;
  Tensor operator()(const Tensor& x, const Call& call) const override;

 private:
  int64_t heads_;
  Tensor mem_kv_;  // [2, heads, 32, 4]
  std::shared_ptr<RmsNorm> norm_, out_norm_;
  std::shared_ptr<Conv2d> to_qkv_, to_out_;
};

class FullAttention : public PixelAttention {
 public:
  FullAttention(int64_t channels, int64_t heads, at::Generator generator);
  void vectors(std::vector<Tensor>& all) const override;
  Tensor operator()(const Tensor& x, const Call& call) const override;

 private:
  Tensor mem_kv_;  // [2, heads, 4, 32]
  std::shared_ptr<RmsNorm> norm_;
  std::shared_ptr<Conv2d> to_qkv_, to_out_;
};

// Null for Attention::none.
std::shared_ptr<PixelAttention> add_attention(Module& parent, const std::string& name, Attention kind, int64_t channels, int64_t heads,
                                              at::Generator generator);

// Half the size: each 2 x 2 patch becomes one pixel of 4 C channels, then a 1x1 convolution. Child "1".
class Downsample : public Module {
 public:
  Downsample(int64_t in, int64_t out, at::Generator generator);
  Tensor operator()(const Tensor& x, const Call& call) const;
  const Tensor& bias() const { return bias_; }

 private:
  Tensor weight_, bias_;
};

// Nearest neighbour to twice the size, then a 3x3 convolution. Child "1".
class Upsample : public Module {
 public:
  Upsample(int64_t in, int64_t out, at::Generator generator);
  Tensor operator()(const Tensor& x, const Call& call) const;
  const Tensor& bias() const { return conv_->bias(); }

 private:
  std::shared_ptr<Conv2d> conv_;
};

// A gated recurrent unit whose maps are 3x3 convolutions.
class ConvGru : public Module {
 public:
  ConvGru(int64_t channels, at::Generator generator);
  Tensor operator()(const Tensor& x, const Tensor& z, const Call& call) const;

 private:
  Tensor x2h_weight_, x2h_bias_, h2h_weight_, h2h_bias_;
};

// The prediction from the latent: a residual block of two 3x3 convolutions and a 1x1 convolution.
class Decoder : public Module {
 public:
  Decoder(int64_t latent, int64_t hidden, int64_t out, at::Generator generator);
  Tensor operator()(const Tensor& z, const Call& call) const;

 private:
  std::shared_ptr<Conv2d> conv1_, conv2_, shortcut_, out_;  // shortcut_ only where latent != hidden
};

}  // namespace df::layers
