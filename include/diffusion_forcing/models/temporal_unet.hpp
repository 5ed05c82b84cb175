// SPDX-License-Identifier: MIT
// The one-dimensional U-Net of Diffuser (Janner et al. 2022): convolutions over the frames of a whole trajectory, which is one token.
#pragma once

#include <ATen/core/Generator.h>

#include <memory>
#include <vector>

#include "diffusion_forcing/models/token_spec.hpp"

namespace df {

class CausalModel;

// The section `model` with `type: temporal_unet`.
struct TemporalUnetConfig {
  static constexpr const char* type = "temporal_unet";
  int64_t dim = 32;                              // channels of the first level, and of the time embedding
  std::vector<int64_t> multipliers = {1, 4, 8};  // channels of level i are dim * multipliers[i]
  int64_t kernel = 5;                            // of the residual blocks' convolutions, odd
  int64_t observation = 4;                       // leading entries of a frame that are the world's state; the rest are actions
  template <class V>
  void visit(V&& v) {
    v("dim", dim, "channels at the first level and of the time embedding");
    v("multipliers", multipliers, "channel multiplier of each level");
    v("kernel", kernel, "frames that a convolution sees");
    v("observation", observation, "leading entries of a frame that start and goal fix");
  }
};

// Tokens are [H, D], H frames of D entries. The condition of a token is its first and its last observation, [2 observation], normalised as
// frames are: both are written over the state of frames 0 and H - 1 of the noisy token and of the prediction, whose actions stay free.
// A trajectory is a whole, so nothing is carried to another token: the latent is a dummy of shape [1], handed on as it came, because every
// sampler and the loss pass one. Sequences of several tokens are independent trajectories.
// `generator` draws the initial weights. Throws df::Error naming the key, e.g. for H not divisible by 2^(levels - 1).
std::shared_ptr<CausalModel> make(const TemporalUnetConfig& config, const TokenSpec& spec, at::Generator generator);

}  // namespace df
