// SPDX-License-Identifier: MIT
// Uniform random actions: the floor that planners are held against.
#pragma once

#include <memory>

#include "diffusion_forcing/planning/environment.hpp"
#include "diffusion_forcing/planning/policy.hpp"

namespace df {

// Each number of an action is uniform between its bounds. Throws df::Error for environments whose actions have no bounds.
std::unique_ptr<Policy> make_random_policy(const EnvironmentSpec& environment);

}  // namespace df
