// SPDX-License-Identifier: MIT
// U-Net with an optional convolutional GRU, for image tokens (the authors' TransitionUnet). With the default stem, decoder and
// attention the network and its parameter names are the authors'.
#pragma once

#include <ATen/core/Generator.h>

#include <memory>
#include <string>
#include <vector>

#include "diffusion_forcing/core/enum_names.hpp"
#include "diffusion_forcing/models/latent_init.hpp"
#include "diffusion_forcing/models/token_spec.hpp"

namespace df {

class CausalModel;

enum class Attention { none, linear, full };
template <>
struct EnumNames<Attention> {
  static constexpr std::pair<std::string_view, Attention> table[] = {
      {"none", Attention::none}, {"linear", Attention::linear}, {"full", Attention::full}};
};

// The section `model` with `type: unet_gru`.
struct UnetGruConfig {
  static constexpr const char* type = "unet_gru";
  int64_t width = 48;                               // d, channels at the first level
  int64_t latent = 16;                              // channels of z
  std::vector<int64_t> multipliers = {1, 2, 4, 8};  // channels of level i are width * multipliers[i]
  int64_t blocks = 2;                               // residual blocks per level
  std::vector<Attention> attention = {Attention::linear, Attention::linear, Attention::linear, Attention::full};  // per level
  Attention middle_attention = Attention::full;
  int64_t heads = 4;          // of every attention, 32 channels each
  int64_t gru_layers = 0;     // 0 or 1 ConvGRU on the output
  int64_t patch = 1;          // space-to-depth of the token: the network sees [C p p, H/p, W/p]
  int64_t stem_kernel = 7;    // of the first convolution, odd
  int64_t decoder_width = 0;  // channels of the decoder's hidden layer; 0: the token's
  LatentInit latent_init = LatentInit::learned;
  template <class V>
  void visit(V&& v) {
    v("width", width, "channels at the first level");
    v("latent", latent, "channels of the latent z");
    v("multipliers", multipliers, "channel multiplier of each level");
    v("blocks", blocks, "residual blocks a level");
    v("attention", attention, "attention of each level");
    v("middle_attention", middle_attention, "attention in the middle");
    v("heads", heads, "attention heads of 32 channels");
    v("gru_layers", gru_layers, "convolutional GRU layers on the output, 0 or 1");
    v("patch", patch, "space-to-depth factor of the token");
    v("stem_kernel", stem_kernel, "kernel of the first convolution");
    v("decoder_width", decoder_width, "hidden channels of the decoder, 0: those of the patched token");
    v("latent_init", latent_init, "latent before the first token");
  }
};

// z lives at the patched resolution: latent_shape [latent, H/patch, W/patch]. `generator` draws the initial weights. Throws df::Error
// naming the key, e.g. for H not divisible by patch * 2^(levels-1).
std::shared_ptr<CausalModel> make(const UnetGruConfig& config, const TokenSpec& spec, at::Generator generator);

}  // namespace df
