// SPDX-License-Identifier: MIT
// One batched call on the cells of a step: what the plain and the guided executor share.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "diffusion_forcing/sampling/sampler.hpp"

namespace df {

class RowWorkers;
struct TokenOutput;

// One number a cell, int64 [n] on `device`.
Tensor cell_column(const PlanStep& step, at::Device device, const std::function<int64_t(const Cell&)>& field);

// Everything about a step that does not depend on x and z, on the model's device. n cells.
struct CellPlan {
  Tensor shown;               // int64 [n], level for the network
  Tensor scale;               // [n, 1, ...] of the token before it is shown; undefined: 1
  Tensor clamped;             // bool [n, 1, ...] tokens to clamp before they are shown; undefined: none
  TransitionCoefficients to;  // [n, 1, ...]
  bool noisy = false;         // whether any sigma > 0
  double clip_x0 = 0.0;       // bound of clean predictions, 0: none
  Precision precision = Precision::fp32;
};
CellPlan plan_cells(const PlanStep& step, const Diffusion& diffusion, const SamplerConfig& config, const Tensor& like);

// The same for steps in which no token is noised anew or clamped, from levels in device memory (int64 [n] each): nothing depends on their
// values on the host.
CellPlan plan_levels(const Tensor& shown, const Tensor& from, const Tensor& to, const Diffusion& diffusion, const SamplerConfig& config,
                     const Tensor& like);

// The plans of one executor: schedules repeat the same levels for token after token, so most steps find theirs made.
class CellPlans {
 public:
  // Valid until the next call.
  const CellPlan& of(const PlanStep& step, const Diffusion& diffusion, const SamplerConfig& config, const Tensor& like);

 private:
  static constexpr size_t most = 1024;  // kept at a time
  std::map<std::vector<int32_t>, CellPlan> plans_;
};

// model.step() in `precision`, with outputs of the type that it computes in.
TokenOutput step_as_it_is(Precision precision, CausalModel& model, const Tensor& x, const Tensor& k, const Tensor& c, const Tensor& z,
                          RowWorkers* workers = nullptr);
// The same with outputs of x's type; `workers`, where there are any, share it.
TokenOutput step_in(Precision precision, CausalModel& model, const Tensor& x, const Tensor& k, const Tensor& c, const Tensor& z,
                    RowWorkers* workers = nullptr);

// What a prediction for the tokens x at levels k says, within +- clip_x0 (0: anywhere).
Denoised denoise(const Diffusion& diffusion, double clip_x0, const Tensor& x, const Tensor& k, const Tensor& prediction);

struct CellOutput {
  Tensor x;   // [B, n, token...] after the move; meaningless where only z is wanted
  Tensor x0;  // [B, n, token...] clean prediction
  Tensor z;   // [B, n, latent...]
};
// x [B, n, token...], c [B, n, C] or undefined, z [B, n, latent...], noise [B, n, token...] or undefined. `workers`, where there are any,
// share the model call.
CellOutput run_cells(CausalModel& model, const Diffusion& diffusion, const CellPlan& plan, const Tensor& x, const Tensor& c,
                     const Tensor& z, const Tensor& noise, RowWorkers* workers = nullptr);

// The same for n successive tokens of each sequence, the latent flowing from one to the next: z [B, latent...] before the first.
CellOutput run_tokens(CausalModel& model, const Diffusion& diffusion, const CellPlan& plan, const Tensor& x, const Tensor& c,
                      const Tensor& z, const Tensor& noise);

// The clipped noise of the step's cells, of `sizes` [B, n, token...], where it was drawn. Throws df::Error where `noise` is empty.
Tensor clipped_noise(const PlanStep& step, const CellNoise& noise, double clip, at::IntArrayRef sizes);
// The same on x's device; undefined where the step needs none.
Tensor cell_noise(const CellPlan& plan, const PlanStep& step, const CellNoise& noise, double clip, const Tensor& like);

}  // namespace df
