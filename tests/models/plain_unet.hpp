// SPDX-License-Identifier: MIT
// The U-Net with its convolutional GRU as one reads it: plain tensor operators on a table of named parameters, nothing fused, shared or
// laid out. It is the oracle of models/unet_gru.cpp, and the place to read what that network computes. B batch, E embedding, C channels.
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/models/unet_gru.hpp"

namespace df::test {

class PlainUnet {
 public:
  PlainUnet(const UnetGruConfig& config, const CausalModel& model) : config_(config) {
    for (const auto& parameter : model.named_parameters()) parameters_[parameter.key()] = parameter.value();
  }

  // One token: x [B, C, H, W], k [B], c [B, .] or undefined, z [B, latent, H / patch, W / patch].
  TokenOutput step(const Tensor& x, const Tensor& k, const Tensor& c, const Tensor& z) const {
    const Tensor next = transition(config_.patch > 1 ? at::pixel_unshuffle(x, config_.patch) : x, k, c, z);
    const Tensor prediction = decode(next);
    return {config_.patch > 1 ? at::pixel_shuffle(prediction, config_.patch) : prediction, next};
  }

  // A sequence: x [B, T, C, H, W], k [B, T], c [B, T, .] or undefined.
  SequenceOutput unroll(const Tensor& x, const Tensor& k, const Tensor& c, Tensor z) const {
    std::vector<Tensor> predictions, latents;
    for (int64_t t = 0; t < x.size(1); ++t) {
      const TokenOutput out = step(x.select(1, t), k.select(1, t), c.defined() ? c.select(1, t) : c, z);
      predictions.push_back(out.prediction);
      latents.push_back(z = out.z);
    }
    return {at::stack(predictions, 1), at::stack(latents, 1)};
  }

 private:
  Tensor parameter(const std::string& name) const { return parameters_.at(name); }
  bool has(const std::string& name) const { return parameters_.count(name) > 0; }

  // The network from one latent to the next. Each level of the way down keeps what its blocks give, and the way up takes it back.
  Tensor transition(const Tensor& x, const Tensor& k, const Tensor& c, const Tensor& z) const {
    const size_t levels = config_.multipliers.size();
    const std::string attention = "." + std::to_string(config_.blocks), resize = "." + std::to_string(config_.blocks + 1);
    const Tensor e = embedding(k, c);
    Tensor h = convolve("model.init_conv", at::cat({z, x}, 1));
    std::vector<Tensor> skips = {h};
    for (size_t i = 0; i < levels; ++i) {
      const std::string level = "model.downs." + std::to_string(i);
      for (int64_t j = 0; j < config_.blocks; ++j) {
        h = residual_block(level + "." + std::to_string(j), h, e);
        if (j + 1 == config_.blocks) h = attend(level + attention, config_.attention[i], h);
        skips.push_back(h);
      }
      // 2 x 2 pixels become four times the channels; the last level keeps its size.
      h = i + 1 < levels ? convolve(level + resize + ".1", at::pixel_unshuffle(h, 2)) : convolve(level + resize, h);
    }
    h = residual_block("model.mid_block1", h, e);
    h = attend("model.mid_attn", config_.middle_attention, h);
    h = residual_block("model.mid_block2", h, e);
    for (size_t i = 0; i < levels; ++i) {
      const std::string level = "model.ups." + std::to_string(i);
      for (int64_t j = 0; j < config_.blocks; ++j) {
        h = residual_block(level + "." + std::to_string(j), at::cat({h, skips.back()}, 1), e);
        skips.pop_back();
      }
      h = attend(level + attention, config_.attention[levels - 1 - i], h);
      h = i + 1 < levels ? convolve(level + resize + ".1", h.repeat_interleave(2, 2).repeat_interleave(2, 3)) : convolve(level + resize, h);
    }
    h = convolve("model.final_conv", residual_block("model.final_res_block", at::cat({h, skips.back()}, 1), e));
    return config_.gru_layers > 0 ? gru("model.gru", h, z) : h;
  }

  // SiLU of what levels (as the authors' time index k - 1) and conditions say: [B, E].
  Tensor embedding(const Tensor& k, const Tensor& c) const {
    const int64_t half = config_.width / 2;
    const Tensor frequency = at::exp(at::arange(half, at::kFloat) * (-std::log(10000.0) / static_cast<double>(half - 1)));
    const Tensor angle = (k - 1).unsqueeze(1) * frequency;
    const Tensor time = linear("model.time_mlp.3", at::gelu(linear("model.time_mlp.1", at::cat({angle.sin(), angle.cos()}, 1))));
    if (!c.defined()) return at::silu(time);
    return at::silu(at::cat({time, linear("model.external_cond_mlp.2", at::gelu(linear("model.external_cond_mlp.0", c)))}, 1));
  }

  // Two convolutions, each with a norm and SiLU; the embedding scales and shifts between the first norm and its SiLU.
  Tensor residual_block(const std::string& name, const Tensor& x, const Tensor& e) const {
    const auto film = linear(name + ".mlp.1", e).unsqueeze(2).unsqueeze(3).chunk(2, 1);  // scale, shift: [B, C, 1, 1]
    Tensor h = group_norm(name + ".block1.norm", convolve(name + ".block1.proj", x));
    h = at::silu(h * (film[0] + 1) + film[1]);
    h = at::silu(group_norm(name + ".block2.norm", convolve(name + ".block2.proj", h)));
    return h + (has(name + ".res_conv.weight") ? convolve(name + ".res_conv", x) : x);
  }

  // x + attention over the pixels of rms_norm(x) and learned memory tokens.
  Tensor attend(const std::string& name, Attention kind, const Tensor& x) const {
    if (kind == Attention::none) return x;
    const auto [n, channels, height, width] = std::tuple(x.size(0), x.size(1), x.size(2), x.size(3));
    const auto qkv = convolve(name + ".to_qkv", rms_norm(name + ".norm", x)).view({n, 3, config_.heads, 32, height * width}).unbind(1);
    Tensor memory = parameter(name + ".mem_kv").unsqueeze(1).expand({-1, n, -1, -1, -1});  // [2, B, heads, ., .]
    if (kind == Attention::full) memory = memory.transpose(3, 4);                          // [2, B, heads, 32, tokens]
    const Tensor q = qkv[0], key = at::cat({memory[0], qkv[1]}, 3), value = at::cat({memory[1], qkv[2]}, 3);
    const double scale = 1.0 / std::sqrt(32.0);
    Tensor out;  // [B, heads, 32, pixels]
    if (kind == Attention::linear)
      out = at::matmul(at::matmul(value, at::softmax(key, 3).transpose(2, 3)), at::softmax(q, 2) * scale);
    else
      out = at::matmul(value, at::softmax(at::matmul(key.transpose(2, 3), q * scale), 2));
    const Tensor image = out.reshape({n, config_.heads * 32, height, width});
    if (kind == Attention::full) return convolve(name + ".to_out", image) + x;
    return rms_norm(name + ".to_out.1", convolve(name + ".to_out.0", image)) + x;
  }

  Tensor gru(const std::string& name, const Tensor& x, const Tensor& z) const {
    const auto from_x = convolve(name + ".x2h", x).chunk(3, 1), from_z = convolve(name + ".h2h", z).chunk(3, 1);
    const Tensor reset = at::sigmoid(from_x[0] + from_z[0]), update = at::sigmoid(from_x[1] + from_z[1]);
    return (1 - update) * at::tanh(from_x[2] + reset * from_z[2]) + update * z;
  }

  // The prediction from the latent.
  Tensor decode(const Tensor& z) const {
    const Tensor h = convolve("x_from_z.0.conv2", at::relu(convolve("x_from_z.0.conv1", z)));
    const bool widens = has("x_from_z.0.shortcut.0.weight");
    return convolve("x_from_z.1", at::relu(h + (widens ? convolve("x_from_z.0.shortcut.0", z) : z)));
  }

  // Stride 1, the size is kept; the bias is optional.
  Tensor convolve(const std::string& name, const Tensor& x) const {
    const Tensor w = parameter(name + ".weight");
    return at::conv2d(x, w, has(name + ".bias") ? parameter(name + ".bias") : Tensor(), 1, w.size(2) / 2);
  }
  Tensor linear(const std::string& name, const Tensor& x) const {
    return at::linear(x, parameter(name + ".weight"), parameter(name + ".bias"));
  }
  Tensor group_norm(const std::string& name, const Tensor& x) const {
    return at::group_norm(x, 8, parameter(name + ".weight"), parameter(name + ".bias"));
  }
  Tensor rms_norm(const std::string& name, const Tensor& x) const {
    return x / x.square().sum(1, true).sqrt() * std::sqrt(static_cast<double>(x.size(1))) * parameter(name + ".g");
  }

  UnetGruConfig config_;
  std::map<std::string, Tensor> parameters_;
};

}  // namespace df::test
