// SPDX-License-Identifier: MIT
// Sampling of whole sequences by a plan. A step of the plan is one model call: gather, model, transition, scatter.
#pragma once

#include <cstdint>
#include <functional>

#include "diffusion_forcing/core/precision.hpp"
#include "diffusion_forcing/core/shape.hpp"
#include "diffusion_forcing/core/tensor.hpp"
#include "diffusion_forcing/diffusion/diffusion.hpp"
#include "diffusion_forcing/sampling/plan.hpp"
#include "diffusion_forcing/sampling/transition.hpp"

namespace df {

class CausalModel;

// How a token moves between two levels, and how the model is called.
struct SamplerConfig {
  Solver solver = Solver::ddim;
  double eta = 0.0;      // of DDIM; 0 is deterministic
  double clip_x0 = 0.0;  // each clean prediction is clamped to +- this, and the noise is that of the clamped one (Ho et al. 2020); 0: none
  // Threads that share the sequences and cells of a model call on the CPU, one intra-op thread each: a call of one cell of one sequence
  // runs on one thread. 0: intra-op threads.
  int64_t cpu_workers = 0;
  Precision precision = Precision::fp32;  // of model calls, but not of contexts
  bool draws_noise() const { return solver == Solver::ddpm || eta > 0; }
  template <class V>
  void visit(V&& v) {
    v("solver", solver, "move between two levels");
    v("eta", eta, "stochasticity of DDIM, 0: deterministic, 1: DDPM");
    v("clip_x0", clip_x0, "bound of clean predictions, 0: none");
    v("cpu_workers", cpu_workers, "CPU threads that share the cells of a model call, 0: intra-op threads instead");
    v("precision", precision, "of model calls");
  }
};

// Noise of the cells of a step, [B, cells, token...], before clipping. Must depend on (row, token) only, so that any order of
// execution gives the same sample.
using CellNoise = std::function<Tensor(const PlanStep& cells)>;
// Draws each cell of sequence b from (seed, first_sequence + b, row, token).
CellNoise seeded_cell_noise(uint64_t seed, Shape batch_and_token_shape, int64_t first_sequence = 0);

// From what sampling starts.
struct SampleInput {
  Tensor x;         // [B, T, token...] initial noise
  Tensor z;         // before the first token, as CausalModel::initial_latent() gives it
  Tensor c;         // [B, T, C] or undefined
  CellNoise noise;  // called only where sigma > 0 or for resampling; may be empty otherwise
};
// What sampling ends with.
struct SampleOutput {
  Tensor x;  // [B, T, token...]
  Tensor z;  // after the last token: what the next ones are sampled after
};
// After each row of a plan in row order: row m, tokens [B, T, token...] after it.
using RowObserver = std::function<void(int64_t row, const Tensor& x)>;

// Runs a whole plan: the buffers hold all tokens. Throws df::Error for shapes that do not fit the model.
SampleOutput sample(CausalModel& model, const Diffusion& diffusion, const Plan& plan, const SamplerConfig& config, const SampleInput& input,
                    const RowObserver& on_row = {});

// Latent after known clean tokens: each is shown at `level` with its own noise (eps [B, T, token...], clipped; ignored at level 0).
// x0 [B, T, token...], c [B, T, C] or undefined, z before the first token -> z after the last
Tensor encode_context(CausalModel& model, const Diffusion& diffusion, const Tensor& x0, int64_t level, const Tensor& eps, const Tensor& c,
                      const Tensor& z);

}  // namespace df
