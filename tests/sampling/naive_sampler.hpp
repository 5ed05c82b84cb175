// SPDX-License-Identifier: MIT
// The oracle: a plain loop over rows and tokens, every cell evaluated, nothing planned. What every plan must equal.
#pragma once

#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/sampling/sampler.hpp"
#include "diffusion_forcing/sampling/scheduling_matrix.hpp"

namespace df::test {

struct NaiveResult {
  Tensor x, z;
  std::vector<Tensor> rows;  // tokens after each row
  int64_t calls = 0;
};

NaiveResult naive_sample(CausalModel& model, const Diffusion& diffusion, const SchedulingMatrix& matrix, const PlanPolicy& policy,
                         const SamplerConfig& config, const SampleInput& input);

}  // namespace df::test
