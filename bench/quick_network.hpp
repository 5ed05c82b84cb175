// SPDX-License-Identifier: MIT
// The network of configs/video_quick.yaml.
#pragma once

#include "diffusion_forcing/models/unet_gru.hpp"

namespace df::bench {

inline UnetGruConfig quick_network() {
  UnetGruConfig config;
  config.width = 32;
  config.multipliers = {1, 2};
  config.blocks = 1;
  config.attention = {Attention::none, Attention::none};
  config.heads = 2;
  config.patch = 4;
  config.stem_kernel = 1;
  config.decoder_width = 32;
  return config;
}

}  // namespace df::bench
