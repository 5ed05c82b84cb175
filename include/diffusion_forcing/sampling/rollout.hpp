// SPDX-License-Identifier: MIT
// Streaming generation of any number of tokens in constant memory.
#pragma once

#include <cstdint>
#include <functional>

#include "diffusion_forcing/core/tensor.hpp"
#include "diffusion_forcing/sampling/rollout_config.hpp"

namespace df {

// From what a rollout starts.
struct RolloutInput {
  int64_t tokens = 0;          // to generate, after the context
  Tensor context;              // [B, Tc, token...] clean tokens shown first, or undefined
  Tensor z;                    // [B, latent...] before the context
  Tensor c;                    // [B, Tc + tokens, C] or undefined
  uint64_t seed = 0;           // token t of sequence b starts from noise of (seed, first_sequence + b, t)
  int64_t first_sequence = 0;  // of this batch, where a larger one is rolled out in parts: the parts give the same tokens
};

// Called once per generated token in order: index from 0 (the first after the context), x [B, token...] clean, on the CPU, the sink's to
// keep. A device goes on meanwhile, some tokens ahead.
using TokenSink = std::function<void(int64_t index, const Tensor& x)>;
// Called after every batched step: fraction of all cells done.
using RolloutProgress = std::function<void(double fraction, int64_t cells)>;

// Generates input.tokens tokens and gives them to `sink` in order. Throws df::Error for shapes that do not fit the model.
RolloutStats rollout(CausalModel& model, const Diffusion& diffusion, const RolloutConfig& config, const RolloutInput& input,
                     const TokenSink& sink, const RolloutProgress& progress = {});

}  // namespace df
