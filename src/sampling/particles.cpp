// SPDX-License-Identifier: MIT
// Guidance without gradients: sequential Monte Carlo over the rows of a plan.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/sampling/guidance.hpp"
#include "sampling/guided_rows.hpp"

namespace df {

namespace {

enum Draw : uint64_t { first_noise, row_noise, offsets };

// Which particle each one becomes a copy of, int64 [B, R]: systematic resampling of the rows of `log_weight` [B, R] whose effective number
// is below half, or 1.5 of two (it is never below 1); the others keep theirs. `low` tells which rows were drawn anew.
Tensor choose_particles(const Tensor& log_weight, const Tensor& offset, Tensor& low) {
  const int64_t B = log_weight.size(0), R = log_weight.size(1);
  const Tensor weight = at::softmax(log_weight, 1);
  low = weight.square().sum(1).reciprocal() < std::max(0.5 * static_cast<double>(R), 1.5);
  const Tensor points = (at::arange(R, weight.options()) + offset.unsqueeze(1)) / static_cast<double>(R);  // [B, R] in (0, 1)
  const Tensor drawn = at::searchsorted(weight.cumsum(1), points).clamp_max(R - 1);
  const Tensor same = at::arange(R, drawn.options()).expand({B, R});
  return at::where(low.unsqueeze(1), drawn, same);
}

Tensor gather_particles(const Tensor& rows, const Tensor& chosen) {  // rows [B R, ...], chosen [B, R]
  const int64_t B = chosen.size(0), R = chosen.size(1);
  const Tensor flat = (chosen + at::arange(B, chosen.options()).unsqueeze(1) * R).flatten();
  return rows.index_select(0, flat);
}

}  // namespace

Particles sample_particles(CausalModel& model, const Diffusion& diffusion, const Plan& plan, const SamplerConfig& config,
                           const Guidance& guidance, const SampleInput& input) {
  const c10::NoGradGuard no_grad;
  if (guidance.config.form != GuidanceForm::resample) throw Error("guidance.form: expected resample, got gradient");
  validate(guidance.config, config, "guidance");
  const std::vector<PlanStep> rows = rows_in_order(plan);
  check_guided_input(model, plan, input);
  const int64_t B = input.x.size(0), R = guidance.config.branches, T = plan.tokens;
  const double clip = diffusion.config.clip_noise;
  const at::Device device = input.x.device();
  const auto particles = [&](const Tensor& tensor) { return tensor.unsqueeze(1).repeat_interleave(R, 1); };
  Tensor x = particles(input.x);
  x.narrow(1, 1, R - 1).copy_(seeded_normal(x.narrow(1, 1, R - 1).sizes().vec(), derive_seed(guidance.seed, {first_noise})));
  x = x.flatten(0, 1).clamp_(-clip, clip);
  const Tensor c = input.c.defined() ? particles(input.c).flatten(0, 1) : input.c, z0 = particles(input.z).flatten(0, 1);
  Tensor z = z0.unsqueeze(1).repeat_interleave(T + 1, 1);
  // The particles of a sequence lie side by side; its reward is asked for one particle of each sequence at a time.
  const auto rewards_of = [&](const Tensor& x0) {
    const Tensor by_sequence = x0.unflatten(0, {B, R});
    std::vector<Tensor> values;
    for (int64_t r = 0; r < R; ++r) values.push_back(checked_reward(guidance.reward, by_sequence.select(1, r), false).to(at::kDouble));
    const Tensor all = at::stack(values, 1);
    if (!at::isfinite(all).all().item<bool>()) throw Error("reward: expected finite values, got NaN or infinity");
    return all;
  };
  const auto double_options = at::TensorOptions(at::kDouble).device(device);
  Tensor log_weight = at::zeros({B, R}, double_options), reward = log_weight, x0 = x.clone();
  for (const PlanStep& row : rows) {
    const int32_t m = row.front().row;
    for (const Cell& each : row) {
      const PlanStep step = {each};
      const int64_t t = each.token;
      const Tensor token = x.narrow(1, t, 1);
      const CellPlan cell = plan_cells(step, diffusion, config, token.select(0, 0));
      const CellNoise draw = [&](const PlanStep&) {
        return seeded_normal(token.sizes().vec(),
                             derive_seed(guidance.seed, {row_noise, static_cast<uint64_t>(m), static_cast<uint64_t>(t)}));
      };
      const CellOutput output = run_tokens(model, diffusion, cell, token, c.defined() ? c.narrow(1, t, 1) : c, z.select(1, t),
                                           cell_noise(cell, step, draw, clip, token));
      x0.narrow(1, t, 1).copy_(output.x0);
      if (each.kind != CellKind::encode) x.narrow(1, t, 1).copy_(output.x);
      z.select(1, t + 1).copy_(output.z.select(1, 0));
    }
    const Tensor now = rewards_of(x0);
    log_weight = log_weight + guidance.config.scale * (now - reward);
    reward = now;
    const Tensor offset =
        at::rand({B}, make_generator(derive_seed(guidance.seed, {offsets, static_cast<uint64_t>(m)})), at::kDouble).to(device);
    Tensor low;
    const Tensor chosen = choose_particles(log_weight, offset, low);
    x = gather_particles(x, chosen);
    x0 = gather_particles(x0, chosen);
    z = gather_particles(z, chosen);
    reward = reward.gather(1, chosen);
    log_weight = at::where(low.unsqueeze(1), at::zeros_like(log_weight), log_weight);
  }
  const Tensor last = rewards_of(x);
  log_weight = log_weight + guidance.config.scale * (last - reward);
  return {x.unflatten(0, {B, R}), z.select(1, T).unflatten(0, {B, R}), at::log_softmax(log_weight, 1), last};
}

}  // namespace df
