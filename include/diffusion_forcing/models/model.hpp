// SPDX-License-Identifier: MIT
// The registry of backbones: a new one is a file pair and a name here.
#pragma once

#include <cstdint>
#include <memory>
#include <variant>

#include "diffusion_forcing/models/mlp_gru.hpp"
#include "diffusion_forcing/models/temporal_unet.hpp"
#include "diffusion_forcing/models/token_spec.hpp"
#include "diffusion_forcing/models/unet_gru.hpp"

namespace df {

class CausalModel;

using ModelConfig = std::variant<UnetGruConfig, MlpGruConfig, TemporalUnetConfig>;

// Weights are a pure function of (config, spec, seed). On the CPU, float32, in training mode.
std::shared_ptr<CausalModel> make_model(const ModelConfig& config, const TokenSpec& spec, uint64_t seed);

}  // namespace df
