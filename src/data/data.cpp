// SPDX-License-Identifier: MIT
#include "diffusion_forcing/data/data.hpp"

namespace df {

std::shared_ptr<const Dataset> make_dataset(const DataConfig& config, Split split) {
  return std::visit([&](const auto& chosen) { return make(chosen, split); }, config);
}

}  // namespace df
