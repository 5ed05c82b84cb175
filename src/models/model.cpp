// SPDX-License-Identifier: MIT
#include "diffusion_forcing/models/model.hpp"

#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/models/causal_model.hpp"

namespace df {

std::shared_ptr<CausalModel> make_model(const ModelConfig& config, const TokenSpec& spec, uint64_t seed) {
  return std::visit([&](const auto& c) { return make(c, spec, make_generator(derive_seed(seed, Stream::weights))); }, config);
}

}  // namespace df
