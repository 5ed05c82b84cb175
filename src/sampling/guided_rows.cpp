// SPDX-License-Identifier: MIT
#include "sampling/guided_rows.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>
#include <utility>
#include <vector>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/shape.hpp"
#include "diffusion_forcing/models/causal_model.hpp"

namespace df {

std::vector<PlanStep> rows_in_order(const Plan& plan) {
  const char* const expected = "guided sampling: expected a plan in row order (PlanPolicy::row_order), got";
  std::vector<PlanStep> rows;
  for (const PlanStep& step : plan.steps) {
    if (step.size() != 1) throw Error(fmt::format("{} a step of several cells", expected));
    if (rows.empty() || rows.back().front().row != step.front().row) rows.emplace_back();
    rows.back().push_back(step.front());
  }
  std::vector<bool> finished(static_cast<size_t>(plan.tokens));
  for (const PlanStep& row : rows) {
    size_t next = 0;  // token
    const auto pass_to = [&](size_t token) {
      for (; next < token; ++next)
        if (!finished[next]) throw Error(fmt::format("{} row {} without its unfinished token {}", expected, row.front().row, next));
    };
    for (const Cell& cell : row) {
      pass_to(static_cast<size_t>(cell.token));
      if (moves(cell.kind) && cell.to == 0) finished[next] = true;
      ++next;
    }
    pass_to(finished.size());
  }
  return rows;
}

void check_guided_input(const CausalModel& model, const Plan& plan, const SampleInput& input) {
  if (model.history() != 1)
    throw Error(fmt::format("guided sampling: expected a recurrent model, got one that attends to {} tokens", model.history()));
  check_shape(input.x, "x", shape({-1, plan.tokens}, model.token_shape()));
  check_shape(input.z, "z", shape({input.x.size(0)}, model.latent_shape()));
}

Tensor checked_reward(const Reward& reward, const Tensor& x0, bool needs_gradient) {
  const Tensor value = reward(x0);
  check_shape(value, "reward", {x0.size(0)});
  if (needs_gradient && !value.requires_grad())
    throw Error(
        "reward: expected a value that depends on the tokens differentiably, got a constant; guidance.form resample needs no gradient");
  return value;
}

Tensor branch_rewards(CausalModel& model, const Diffusion& diffusion, const Guidance& guidance, const SamplerConfig& config,
                      const Tensor& done, const Tensor& x, const Tensor& c, const Tensor& from, const Tensor& z, at::Generator generator) {
  const int64_t R = guidance.config.branches, L = guidance.config.lookahead, B = x.size(0), n = x.size(1);
  const double clip = diffusion.config.clip_noise;
  // Branch r of sequence b is row r B + b.
  const auto branched = [R](const Tensor& tensor) { return tensor.unsqueeze(0).expand(shape({R}, tensor.sizes().vec())).flatten(0, 1); };
  Tensor latent = branched(z);
  std::vector<Tensor> clean;
  for (int64_t t = 0; t < n; ++t) {
    Tensor token = branched(x.select(1, t));
    const Tensor condition = c.defined() ? branched(c.select(1, t)) : c;
    // Level 0 is one that networks are not trained at: levels are rounded up, so that the last call sees level 1 or more as in the plain
    // sampler, and finished tokens are shown as if encoded again.
    const Tensor level = from.narrow(0, t, 1), unfinished = per_token(level > 0, token), finished = token;
    token = token * at_level(diffusion.schedule.sqrt_alpha_bar, (level == 0).to(at::kLong), token);
    for (int64_t j = 0; j < L; ++j) {
      const auto after = [&](int64_t steps) { return level.mul(L - steps).add(L - 1).div(L, "trunc"); };
      const Tensor k = after(j).clamp_min(1), next = at::where(level > 0, after(j + 1), k);
      const TokenOutput output = step_in(config.precision, model, token, k.expand({R * B}), condition, latent);
      const Denoised denoised = denoise(diffusion, config.clip_x0, token, k, output.prediction);
      const auto to = transition_coefficients(Solver::ddpm, diffusion.schedule, k, next, 0.0, token);
      const Tensor noise = j + 1 < L ? at::randn(token.sizes(), generator, token.options()).clamp_(-clip, clip) : Tensor();
      token = j + 1 < L ? transition(to, denoised, noise) : denoised.x0;
      if (j + 1 == L) latent = output.z;
    }
    clean.push_back(at::where(unfinished, token, finished));
  }
  const Tensor x0 = at::stack(clean, 1).unflatten(0, {R, B});
  std::vector<Tensor> rewards;
  for (int64_t r = 0; r < R; ++r)
    rewards.push_back(checked_reward(guidance.reward, done.defined() ? at::cat({done, x0[r]}, 1) : x0[r], true));
  return at::stack(rewards);
}

Tensor branch_value(const GuidanceConfig& config, const Tensor& rewards) {
  if (config.value == BranchValue::expected) return config.scale * rewards.mean(0);
  return at::logsumexp(config.scale * rewards, 0) - std::log(static_cast<double>(rewards.size(0)));
}

Tensor guided_move(const Diffusion& diffusion, const SamplerConfig& config, const GuidanceConfig& guidance, const RowRun& run,
                   const Tensor& x, const Tensor& moved, const Tensor& gradient) {
  const double eta = config.solver == Solver::ddpm ? 1.0 : config.eta;
  const Tensor g = guidance_coefficient(guidance.coefficient, diffusion.schedule, run.from, run.to, eta);
  const Tensor guided = moved + per_token(at::where(run.moves, g, at::zeros_like(g)), x.select(0, 0)) * gradient;
  return at::where(per_token(run.writes, x.select(0, 0)), guided, x);
}

}  // namespace df
