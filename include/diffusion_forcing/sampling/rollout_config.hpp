// SPDX-License-Identifier: MIT
// How a sequence is generated: its schedule, its solver and what happens to tokens that wait. The `sampling` section of an experiment.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "diffusion_forcing/sampling/sampler.hpp"

namespace df {

// The section `sampling`.
struct RolloutConfig {
  std::string schedule = "autoregressive";  // a MatrixKind, or a CSV or npy file
  int64_t steps = 50;                       // S; a file has its own
  double slope = 1.0;                       // rows per token, pyramid and trapezoid
  int64_t horizon = 9;                      // tokens of a chunk: full_sequence and trapezoid
  SamplerConfig sampler;
  PlanPolicy policy;
  template <class V>
  void visit(V&& v) {
    v("schedule", schedule, "full_sequence, autoregressive, pyramid, trapezoid, or a matrix file");
    v("steps", steps, "sampling steps S (a matrix file has its own)");
    v("slope", slope, "rows per token of pyramid and trapezoid");
    v("horizon", horizon, "tokens a chunk of full_sequence and trapezoid");
    sampler.visit(v);
    policy.visit(v);
  }
};
// Throws df::Error naming the field.
void validate(const RolloutConfig& config, int64_t levels);
// One line for people: "pyramid schedule, 50 steps", or what a file holds and how it covers `tokens` (nothing: any number).
std::string describe(const RolloutConfig& config, std::optional<int64_t> tokens);

// What a rollout cost.
struct RolloutStats {
  int64_t cells = 0;  // model evaluations per sequence
  int64_t steps = 0;  // batched model calls
  double seconds = 0.0;
};

}  // namespace df
