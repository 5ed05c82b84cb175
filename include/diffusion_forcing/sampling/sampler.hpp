// SPDX-License-Identifier: MIT
// The executor of plans: one buffer of tokens, one of latents; a step is gather, model, transition, scatter.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "diffusion_forcing/core/precision.hpp"
#include "diffusion_forcing/core/shape.hpp"
#include "diffusion_forcing/core/tensor.hpp"
#include "diffusion_forcing/diffusion/diffusion.hpp"
#include "diffusion_forcing/sampling/plan.hpp"
#include "diffusion_forcing/sampling/transition.hpp"

namespace df {

class CausalModel;
class CellPlans;
class RecordedSteps;
class RowWorkers;

struct SamplerConfig {
  Solver solver = Solver::ddim;
  double eta = 0.0;      // of DDIM; 0 is deterministic
  double clip_x0 = 0.0;  // each clean prediction is clamped to +- this, and the noise is that of the clamped one (Ho et al. 2020); 0: none
  int64_t cpu_workers = 0;  // threads that share the rows of a model call on the CPU, one intra-op thread each; 0: intra-op threads
  Precision precision = Precision::fp32;  // of model calls, but not of contexts
  bool draws_noise() const { return solver == Solver::ddpm || eta > 0; }
  template <class V>
  void visit(V&& v) {
    v("solver", solver, "move between two levels");
    v("eta", eta, "stochasticity of DDIM, 0: deterministic, 1: DDPM");
    v("clip_x0", clip_x0, "bound of clean predictions, 0: none");
    v("cpu_workers", cpu_workers, "threads that share a model call on the CPU, 0: intra-op threads instead");
    v("precision", precision, "of model calls");
  }
};

// Noise of the cells of a step, [B, cells, token...], before clipping. Must depend on (row, token) only, so that any order of
// execution gives the same sample.
using CellNoise = std::function<Tensor(const PlanStep& cells)>;
// Draws each cell of sequence b from (seed, first_sequence + b, row, token).
CellNoise seeded_cell_noise(uint64_t seed, Shape batch_and_token_shape, int64_t first_sequence = 0);

struct SampleInput {
  Tensor x;         // [B, T, token...] initial noise
  Tensor z;         // [B, latent...]
  Tensor c;         // [B, T, C] or undefined
  CellNoise noise;  // called only where sigma > 0 or for resampling; may be empty otherwise
};
struct SampleOutput {
  Tensor x;  // [B, T, token...]
  Tensor z;  // [B, latent...] after the last token
};
// After each row of a plan in row order: row m, tokens [B, T, token...] after it.
using RowObserver = std::function<void(int64_t row, const Tensor& x)>;

SampleOutput sample(CausalModel& model, const Diffusion& diffusion, const Plan& plan, const SamplerConfig& config, const SampleInput& input,
                    const RowObserver& on_row = {});

// Latent after known clean tokens: each is shown at `level` with its own noise (eps [B, T, token...], clipped; ignored at level 0).
// x0 [B, T, token...], c [B, T, C] or undefined, z [B, latent...] -> [B, latent...]
Tensor encode_context(CausalModel& model, const Diffusion& diffusion, const Tensor& x0, int64_t level, const Tensor& eps, const Tensor& c,
                      const Tensor& z);

// Token and latent buffers as rings of slots, and the execution of one step on them: what sample() and rollout() share.
// A finished token that is encoded again is shown at the stabilisation level s as sqrt(alpha_bar_s) x, without noise.
class StepExecutor {
 public:
  // slots: how many successive tokens are held at a time; token t lives in slot t % slots.
  StepExecutor(CausalModel& model, const Diffusion& diffusion, const SamplerConfig& config, int64_t batch, int64_t slots);
  int64_t slots() const { return slots_; }
  // More slots, keeping tokens first .. first + old slots - 1 and the latents before and after them.
  void grow(int64_t slots, int64_t first);
  void set_token(int64_t token, const Tensor& x);      // x [B, token...]
  void set_condition(int64_t token, const Tensor& c);  // c [B, C]
  void set_latent(int64_t token, const Tensor& z);     // z before `token`, [B, latent...]
  Tensor token(int64_t token) const;                   // [B, token...]
  Tensor latent(int64_t token) const;                  // z before `token`, [B, latent...]
  void run(const PlanStep& step, const CellNoise& noise);

 private:
  CausalModel& model_;
  const Diffusion& diffusion_;  // on the model's device
  SamplerConfig config_;
  std::shared_ptr<RowWorkers> workers_;  // null: none
  std::shared_ptr<CellPlans> plans_;
  int64_t batch_, slots_;
  // [B, slots + 1, token...], [B, slots + 2, latent...], [B, slots + 1, C]: the last slot of each takes what is not wanted.
  Tensor x_, z_, c_;
  std::shared_ptr<RecordedSteps> recorded_;  // of these buffers
};

}  // namespace df
