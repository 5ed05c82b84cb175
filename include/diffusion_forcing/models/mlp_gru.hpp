// SPDX-License-Identifier: MIT
// MLP - GRU - MLP for vector tokens (the authors' TransitionMlp), with their parameter names.
#pragma once

#include <ATen/core/Generator.h>

#include <memory>

#include "diffusion_forcing/models/latent_init.hpp"
#include "diffusion_forcing/models/token_spec.hpp"

namespace df {

class CausalModel;

// The section `model` with `type: mlp_gru`.
struct MlpGruConfig {
  static constexpr const char* type = "mlp_gru";
  int64_t width = 32;      // n; hidden layers have 32 n units, embeddings n
  int64_t latent = 128;    // units of z
  int64_t mlp_layers = 4;  // L before and after the GRU
  int64_t gru_layers = 1;  // G stacked cells of latent / G units
  LatentInit latent_init = LatentInit::zero;
  template <class V>
  void visit(V&& v) {
    v("width", width, "network size n: hidden layers have 32 n units");
    v("latent", latent, "units of the latent z");
    v("mlp_layers", mlp_layers, "layers of the MLP before and of the one after the GRU");
    v("gru_layers", gru_layers, "stacked GRU cells");
    v("latent_init", latent_init, "latent before the first token");
  }
};

// `generator` draws the initial weights. Throws df::Error naming the key.
std::shared_ptr<CausalModel> make(const MlpGruConfig& config, const TokenSpec& spec, at::Generator generator);

}  // namespace df
