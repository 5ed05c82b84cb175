// SPDX-License-Identifier: MIT
// Sampling guided by the gradient of a reward of all tokens (Chen et al. 2024, section 3.3; Dhariwal & Nichol 2021), row by row.
#pragma once

#include <functional>

#include "diffusion_forcing/core/enum_names.hpp"
#include "diffusion_forcing/core/tensor.hpp"
#include "diffusion_forcing/sampling/sampler.hpp"

namespace df {

// Clean predictions of a whole row [B, T, token...] -> reward of each sequence [B]. Differentiable.
using Reward = std::function<Tensor(const Tensor& x0)>;

enum class GuidanceCoefficient {
  exact,     // of DDIM under eps - sqrt(1 - a) grad: has the factor sqrt(a' / a)
  released,  // of the authors' code, without that factor
};
template <>
struct EnumNames<GuidanceCoefficient> {
  static constexpr std::pair<std::string_view, GuidanceCoefficient> table[] = {{"exact", GuidanceCoefficient::exact},
                                                                               {"released", GuidanceCoefficient::released}};
};

struct Guidance {
  Reward reward;
  double scale = 1.0;
  GuidanceCoefficient coefficient = GuidanceCoefficient::exact;
};

// g(from, to): x' += scale * g * d reward / dx. [N]; 0 where to == 0 (the last step is not guided) or from == to.
// exact: sqrt(1-a) (sqrt(a'/a) sqrt(1-a) - sqrt(1-a'-sigma^2)); released: (1-a) - sqrt(1-a'-sigma^2) sqrt(1-a).
Tensor guidance_coefficient(GuidanceCoefficient kind, const NoiseSchedule& schedule, const Tensor& from, const Tensor& to, double eta);

// `plan` must be in row order. Gradients flow from the rewards of later tokens to earlier ones through z within a row.
// Throws df::Error where the reward is not [B] or not finite.
SampleOutput sample_guided(CausalModel& model, const Diffusion& diffusion, const Plan& plan, const SamplerConfig& config,
                           const Guidance& guidance, const SampleInput& input, const RowObserver& on_row = {});

}  // namespace df
