// SPDX-License-Identifier: MIT
// Streaming generation of any number of tokens in constant memory.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "diffusion_forcing/core/tensor.hpp"
#include "diffusion_forcing/sampling/sampler.hpp"

namespace df {

struct RolloutConfig {
  std::string schedule = "autoregressive";  // a MatrixKind, or a CSV or npy file
  int64_t steps = 50;                       // S; ignored for a file
  double slope = 1.0;                       // rows per token, pyramid and trapezoid
  int64_t horizon = 9;                      // tokens of a chunk: full_sequence and trapezoid
  SamplerConfig sampler;
  PlanPolicy policy;
  template <class V>
  void visit(V&& v) {
    v("schedule", schedule, "full_sequence, autoregressive, pyramid, trapezoid, or a matrix file");
    v("steps", steps, "sampling steps S");
    v("slope", slope, "rows per token of pyramid and trapezoid");
    v("horizon", horizon, "tokens a chunk of full_sequence and trapezoid");
    sampler.visit(v);
    policy.visit(v);
  }
};
// Throws df::Error naming the field.
void validate(const RolloutConfig& config, int64_t levels);

struct RolloutInput {
  int64_t tokens = 0;     // to generate, after the context
  Tensor context;         // [B, Tc, token...] clean tokens shown first, or undefined
  Tensor z;               // [B, latent...] before the context
  Tensor c;               // [B, Tc + tokens, C] or undefined
  uint64_t seed = 0;      // token t of row b starts from noise of (seed, first_row + b, t)
  int64_t first_row = 0;  // of this batch, where a larger one is rolled out in parts: the parts give the same tokens
};

struct RolloutStats {
  int64_t cells = 0;  // model evaluations per sequence
  int64_t steps = 0;  // batched model calls
  double seconds = 0.0;
};

// Called once per generated token in order: index from 0 (the first after the context), x [B, token...] clean, on the CPU, the sink's to
// keep. A device goes on meanwhile, some tokens ahead.
using TokenSink = std::function<void(int64_t index, const Tensor& x)>;
// Called after every batched step: fraction of all cells done.
using RolloutProgress = std::function<void(double fraction, int64_t cells)>;

RolloutStats rollout(CausalModel& model, const Diffusion& diffusion, const RolloutConfig& config, const RolloutInput& input,
                     const TokenSink& sink, const RolloutProgress& progress = {});

}  // namespace df
