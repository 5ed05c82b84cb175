// SPDX-License-Identifier: MIT
#include "diffusion_forcing/planning/task_family.hpp"

#include <fmt/format.h>

#include "diffusion_forcing/core/error.hpp"

namespace df {

std::unique_ptr<Policy> TaskFamily::controller(const std::string& name, const std::string& id) const {
  throw Error(fmt::format("{}: expected the name of a controller, got '{}'; there are none", id, name));
}

}  // namespace df
