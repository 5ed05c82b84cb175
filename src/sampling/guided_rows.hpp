// SPDX-License-Identifier: MIT
// The mathematics of one guided row.
#pragma once

#include <ATen/core/Generator.h>

#include <cstdint>
#include <vector>

#include "diffusion_forcing/sampling/guidance.hpp"
#include "sampling/cells.hpp"

namespace df {

// Successive tokens of a row that all have a cell: levels and moves are int64 [n] and bool [n] on the model's device.
struct RowRun {
  int64_t first = 0;  // token
  Tensor from, to;
  Tensor moves;   // where x goes to another level, and so may be guided
  Tensor writes;  // where x changes
  CellPlan plan;
  Tensor noise;  // [B, n, token...] or undefined
};

// The cells of each row of a plan that runs row after row, cell by cell, with every unfinished token, since rewards see all of them. Throws
// df::Error for other plans.
std::vector<PlanStep> rows_in_order(const Plan& plan);

// Throws df::Error for inputs of other shapes and for a model that attends to several tokens.
void check_guided_input(const CausalModel& model, const Plan& plan, const SampleInput& input);

// Rewards [B] of clean tokens [B, T, token...]. Throws df::Error for another shape and for a value without a gradient where one is needed.
Tensor checked_reward(const Reward& reward, const Tensor& x0, bool needs_gradient);

// Whether futures are sampled, instead of the row's own clean predictions standing for the one that there is.
inline bool branches_out(const GuidanceConfig& config) { return config.branches > 1 || config.lookahead > 1; }

// Rewards [R, B] of R sampled futures. x [B, n, token...] unfinished tokens at levels `from` [n], z [B, latent...] before them, `done`
// [B, f, token...] the finished tokens before them or undefined.
Tensor branch_rewards(CausalModel& model, const Diffusion& diffusion, const Guidance& guidance, const SamplerConfig& config,
                      const Tensor& done, const Tensor& x, const Tensor& c, const Tensor& from, const Tensor& z, at::Generator generator);

// What is climbed, [B], of rewards [R, B].
Tensor branch_value(const GuidanceConfig& config, const Tensor& rewards);

// The moves of a run, guided by `gradient` [B, n, token...] of the value; x before and `moved` after the unguided moves.
Tensor guided_move(const Diffusion& diffusion, const SamplerConfig& config, const GuidanceConfig& guidance, const RowRun& run,
                   const Tensor& x, const Tensor& moved, const Tensor& gradient);

}  // namespace df
