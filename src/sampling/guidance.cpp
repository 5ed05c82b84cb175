// SPDX-License-Identifier: MIT
#include "diffusion_forcing/sampling/guidance.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "sampling/cells.hpp"

namespace df {

namespace {

// State between rows: tokens, the latent before each token and after the last, without gradients.
struct Row {
  std::vector<Tensor> x;  // T of [B, token...]
  std::vector<Tensor> z;  // T + 1 of [B, latent...]
};

Tensor checked_reward(const Reward& reward, const Tensor& x0) {
  const Tensor value = reward(x0);
  check_shape(value, "reward", {x0.size(0)});
  if (!at::isfinite(value).all().item<bool>()) throw Error("reward: expected finite values, got NaN or infinity");
  return value;
}

// One row: every cell with gradients, the reward of all clean predictions, then the guided moves.
void guided_row(CausalModel& model, const Diffusion& diffusion, const SamplerConfig& config, const Guidance& guidance,
                const SampleInput& input, const std::vector<const PlanStep*>& cells, Row& row) {
  std::vector<Tensor> leaves, x0(row.x.size()), moved(row.x.size());
  for (size_t t = 0; t < row.x.size(); ++t) {
    leaves.push_back(row.x[t].detach().requires_grad_());
    x0[t] = leaves[t];  // a finished token is its own clean prediction
  }
  std::vector<Tensor> z = row.z;
  for (const PlanStep* step : cells) {
    const auto t = static_cast<size_t>(step->front().token);
    const Tensor x = leaves[t].unsqueeze(1);
    const CellPlan plan = plan_cells(*step, diffusion, config, x.select(0, 0));
    const Tensor c = input.c.defined() ? input.c.select(1, static_cast<int64_t>(t)).unsqueeze(1) : Tensor();
    const CellOutput output =
        run_cells(model, diffusion, plan, x, c, z[t].unsqueeze(1), cell_noise(plan, *step, input.noise, diffusion.config.clip_noise, x));
    z[t + 1] = output.z.squeeze(1);
    x0[t] = output.x0.squeeze(1);
    moved[t] = output.x.squeeze(1);
  }
  const Tensor total = checked_reward(guidance.reward, at::stack(x0, 1)).sum();
  if (!total.requires_grad()) throw Error("reward: expected a value that depends on the tokens differentiably, got a constant");
  const std::vector<Tensor> gradients = torch::autograd::grad({total}, leaves, {}, std::nullopt, false, /*allow_unused=*/true);
  for (const PlanStep* step : cells) {
    const Cell& cell = step->front();
    if (cell.kind == CellKind::encode) continue;
    const auto t = static_cast<size_t>(cell.token);
    row.x[t] = moved[t].detach();
    if (!moves(cell.kind) || !gradients[t].defined()) continue;
    const auto level = at::TensorOptions(at::kLong).device(row.x[t].device());
    const Tensor g = guidance_coefficient(guidance.coefficient, diffusion.schedule, at::full({1}, cell.from, level),
                                          at::full({1}, cell.to, level), config.eta);
    row.x[t] = row.x[t] + guidance.scale * g * gradients[t];
  }
  for (size_t t = 0; t < z.size(); ++t) row.z[t] = z[t].detach();
}

}  // namespace

Tensor guidance_coefficient(GuidanceCoefficient kind, const NoiseSchedule& schedule, const Tensor& from, const Tensor& to, double eta) {
  const Tensor a = schedule.alpha_bar.index_select(0, from).to(at::kDouble), next = schedule.alpha_bar.index_select(0, to).to(at::kDouble);
  const Tensor variance = eta * eta * (1 - a / next) * (1 - next) / (1 - a).clamp_min(1e-12);
  const Tensor direction = (1 - next - variance).clamp_min(0).sqrt();
  Tensor g;
  if (kind == GuidanceCoefficient::exact)
    g = (1 - a) * (next / a).sqrt() - direction * (1 - a).sqrt();
  else
    g = at::where(to > 0, (1 - a) - direction * (1 - a).sqrt(), at::zeros_like(a));
  return at::where(from > to, g, at::zeros_like(g)).to(at::kFloat);
}

SampleOutput sample_guided(CausalModel& model, const Diffusion& diffusion, const Plan& plan, const SamplerConfig& config,
                           const Guidance& guidance, const SampleInput& input, const RowObserver& on_row) {
  const at::AutoGradMode with_gradients(true);
  const double clip = diffusion.config.clip_noise;
  Row row;
  for (int64_t t = 0; t < plan.tokens; ++t) {
    row.x.push_back(input.x.select(1, t).clamp(-clip, clip));
    row.z.push_back(input.z);
  }
  row.z.push_back(input.z);
  for (size_t i = 0; i < plan.steps.size();) {
    const int32_t m = plan.steps[i].front().row;
    std::vector<const PlanStep*> cells;
    for (; i < plan.steps.size() && plan.steps[i].front().row == m; ++i) {
      if (plan.steps[i].size() != 1) throw Error("guided sampling: expected a plan in row order, got a step of several cells");
      cells.push_back(&plan.steps[i]);
    }
    guided_row(model, diffusion, config, guidance, input, cells, row);
    if (on_row) on_row(m, at::stack(row.x, 1));
  }
  return {at::stack(row.x, 1), row.z.back()};
}

}  // namespace df
