// SPDX-License-Identifier: MIT
// Denoising errors by noise level, and the evidence lower bound that they add up to: how well a model predicts held-out sequences, without
// sampling. docs/reference/metrics.md has the derivation (Ho et al. 2020, eq. 5; Kingma et al. 2021, eq. 13; Chen et al. 2024,
// theorem 3.1).
#pragma once

#include <cstdint>
#include <vector>

#include "diffusion_forcing/core/tensor.hpp"
#include "diffusion_forcing/diffusion/loss.hpp"

namespace df {

// How finely the bound is computed.
struct LikelihoodConfig {
  int64_t steps = 50;         // S of the sampler whose bound it is
  int64_t history_level = 1;  // at which the tokens before each one are shown, 0..K
};

// -log p(x_1..x_T) <= prior + sum over levels of diffusion + posterior, in nats of the normalised tokens, for S steps of DDPM.
struct Likelihood {
  std::vector<int32_t> levels;  // [S] the ladder's levels above 0, rising
  Tensor x0_error, eps_error;   // [B, S] mean squared error of each sequence at each level
  Tensor diffusion;             // [B, S] KL of the step down from each level; 0 at the lowest, whose step is the posterior
  Tensor posterior;             // [B] the k = 0 end: -log p(x0 | x at the lowest level)
  Tensor prior;                 // [B] the k = K end: KL of x at level K from a standard normal
  int64_t elements = 0;         // of a sequence
  Tensor nats() const;          // [B] the bound
  // [B] bits per element of raw values in 256 steps, for tokens x = (raw - mean) / std with raw in [0, 1].
  Tensor bits_per_element(double std) const;
};

// One draw of noise per token and level, from the seed. float64 on the CPU.
Likelihood likelihood(CausalModel& model, const Diffusion& diffusion, const LikelihoodConfig& config, const LossInput& input,
                      uint64_t seed);

}  // namespace df
