// SPDX-License-Identifier: MIT
// Uniform random actions: the floor that planners are held against, and the 0 of D4RL's normalised score.
#pragma once

#include <memory>

#include "diffusion_forcing/planning/policy.hpp"

namespace df {

std::unique_ptr<Policy> make_random_policy();  // each action U(-1, 1)^2

}  // namespace df
