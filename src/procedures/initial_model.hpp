// SPDX-License-Identifier: MIT
// The model of an experiment before its training.
#pragma once

#include <memory>

#include "diffusion_forcing/config/experiment.hpp"
#include "diffusion_forcing/core/seed.hpp"

namespace df {

// The one place that says which seed an experiment's weights are drawn from.
inline std::shared_ptr<CausalModel> initial_model(const ExperimentConfig& config, const TokenSpec& token) {
  return make_model(config.model, token, derive_seed(config.seed, Stream::weights));
}

}  // namespace df
