// SPDX-License-Identifier: MIT
#include "diffusion_forcing/planning/environment.hpp"

#include <fmt/format.h>

namespace df {

Tensor Environment::draw(const WorldPicture&, int64_t) const { return {}; }

std::string Environment::caption(const std::vector<double>& outcome) const {
  const auto& known = spec().outcomes;
  return known.empty() || outcome.empty() ? "" : fmt::format("{} {:.4g}", known[0].key, outcome[0]);
}

}  // namespace df
