// SPDX-License-Identifier: MIT
#include "sampling/cells.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "core/autocast.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/shape.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "sampling/row_workers.hpp"

namespace df {

Tensor cell_column(const PlanStep& step, at::Device device, const std::function<int64_t(const Cell&)>& field) {
  std::vector<int64_t> values;
  values.reserve(step.size());
  for (const Cell& cell : step) values.push_back(field(cell));
  return at::tensor(values, at::kLong).to(device);
}

CellPlan plan_cells(const PlanStep& step, const Diffusion& diffusion, const SamplerConfig& config, const Tensor& like) {
  const at::Device device = like.device();
  const NoiseSchedule& schedule = diffusion.schedule;
  CellPlan plan;
  plan.clip_x0 = config.clip_x0;
  plan.precision = config.precision;
  plan.shown = cell_column(step, device, [](const Cell& cell) { return cell.shown; });
  const Tensor from = cell_column(step, device, [](const Cell& cell) { return cell.from; });
  const Tensor to = cell_column(step, device, [](const Cell& cell) { return moves(cell.kind) ? cell.to : cell.from; });
  plan.to = transition_coefficients(config.solver, schedule, from, to, config.eta, like);
  const auto any = [&](CellKind kind) {
    return std::any_of(step.begin(), step.end(), [&](const Cell& cell) { return cell.kind == kind; });
  };
  plan.noisy = config.draws_noise();
  if (any(CellKind::resample)) {  // x' = sqrt(a) x0 + sqrt(1 - a) noise, at the level that the token has
    const Tensor resample =
        per_token(cell_column(step, device, [](const Cell& c) { return c.kind == CellKind::resample; }).to(at::kBool), like);
    plan.to.x0 = at::where(resample, at_level(schedule.sqrt_alpha_bar, from, like), plan.to.x0);
    plan.to.eps = at::where(resample, at::zeros_like(plan.to.eps), plan.to.eps);
    plan.to.sigma = at::where(resample, at_level(schedule.sqrt_one_minus_alpha_bar, from, like), plan.to.sigma);
    plan.noisy = true;
  }
  if (any(CellKind::restep))
    plan.clamped = per_token(cell_column(step, device, [](const Cell& c) { return c.kind == CellKind::restep; }).to(at::kBool), like);
  const auto shown_higher = [](const Cell& cell) { return cell.shown > cell.from; };
  if (std::any_of(step.begin(), step.end(), shown_higher))
    plan.scale = at_level(schedule.sqrt_alpha_bar, at::where(plan.shown > from, plan.shown, at::zeros_like(from)), like);
  return plan;
}

CellPlan plan_levels(const Tensor& shown, const Tensor& from, const Tensor& to, const Diffusion& diffusion, const SamplerConfig& config,
                     const Tensor& like) {
  CellPlan plan;
  plan.clip_x0 = config.clip_x0;
  plan.precision = config.precision;
  plan.shown = shown;
  plan.to = transition_coefficients(config.solver, diffusion.schedule, from, to, config.eta, like);
  plan.scale = at_level(diffusion.schedule.sqrt_alpha_bar, at::where(shown > from, shown, at::zeros_like(from)), like);  // 1 at level 0
  return plan;
}

const CellPlan& CellPlans::of(const PlanStep& step, const Diffusion& diffusion, const SamplerConfig& config, const Tensor& like) {
  std::vector<int32_t> levels;
  levels.reserve(4 * step.size());
  for (const Cell& cell : step) levels.insert(levels.end(), {cell.shown, cell.from, cell.to, static_cast<int32_t>(cell.kind)});
  if (const auto found = plans_.find(levels); found != plans_.end()) return found->second;
  if (plans_.size() == most) plans_.clear();
  return plans_[std::move(levels)] = plan_cells(step, diffusion, config, like);
}

namespace {

// Autocast where the precision asks for it; otherwise whatever holds already.
class InPrecision {
 public:
  // cache: see Autocast; the threads of workers must not share one.
  InPrecision(Precision precision, at::Device device, bool cache) {
    if (precision == Precision::bf16) autocast_.emplace(device.type(), true, cache);
  }

 private:
  std::optional<Autocast> autocast_;
};

// Tokens as the network sees them.
Tensor show(const Diffusion& diffusion, const CellPlan& plan, const Tensor& x) {
  const double clip = diffusion.config.clip_noise;
  const Tensor shown = plan.scale.defined() ? x * plan.scale : x;
  return plan.clamped.defined() ? at::where(plan.clamped, shown.clamp(-clip, clip), shown) : shown;
}

CellOutput move(const Diffusion& diffusion, const CellPlan& plan, const Tensor& shown, const Tensor& k, const Tensor& prediction,
                const Tensor& z, const Tensor& noise) {
  const Denoised denoised = denoise(diffusion, plan.clip_x0, shown, k, prediction);
  return {transition(plan.to, denoised, noise), denoised.x0, z};
}

}  // namespace

Denoised denoise(const Diffusion& diffusion, double clip_x0, const Tensor& x, const Tensor& k, const Tensor& prediction) {
  const double clip = diffusion.config.clip_noise;
  const Denoised denoised = decode(diffusion.config.output, diffusion.schedule, x, k, prediction, clip);
  if (clip_x0 <= 0) return denoised;
  return decode(Space::x0, diffusion.schedule, x, k, denoised.x0.clamp(-clip_x0, clip_x0), clip);  // the noise that leads from it to x
}

TokenOutput step_as_it_is(Precision precision, CausalModel& model, const Tensor& x, const Tensor& k, const Tensor& c, const Tensor& z,
                          RowWorkers* workers) {
  const InPrecision scope(precision, x.device(), /*cache=*/!workers);
  return workers ? workers->step(model, x, k, c, z) : model.step(x, k, c, z);
}

TokenOutput step_in(Precision precision, CausalModel& model, const Tensor& x, const Tensor& k, const Tensor& c, const Tensor& z,
                    RowWorkers* workers) {
  const TokenOutput output = step_as_it_is(precision, model, x, k, c, z, workers);
  return {output.prediction.to(x.scalar_type()), output.z.to(z.scalar_type())};
}

CellOutput run_cells(CausalModel& model, const Diffusion& diffusion, const CellPlan& plan, const Tensor& x, const Tensor& c,
                     const Tensor& z, const Tensor& noise, RowWorkers* workers) {
  const int64_t B = x.size(0), n = x.size(1);
  const Tensor shown = show(diffusion, plan, x), k = plan.shown.unsqueeze(0).expand({B, n});
  const Tensor rows[] = {shown.flatten(0, 1), k.reshape({B * n}), c.defined() ? c.flatten(0, 1) : c, z.flatten(0, 1)};
  const TokenOutput output = step_in(plan.precision, model, rows[0], rows[1], rows[2], rows[3], workers);
  return move(diffusion, plan, shown, k, output.prediction.view(x.sizes()), output.z.view(z.sizes()), noise);
}

CellOutput run_tokens(CausalModel& model, const Diffusion& diffusion, const CellPlan& plan, const Tensor& x, const Tensor& c,
                      const Tensor& z, const Tensor& noise) {
  const Tensor shown = show(diffusion, plan, x), k = plan.shown.unsqueeze(0).expand({x.size(0), x.size(1)});
  SequenceOutput output;
  {
    const InPrecision precision(plan.precision, x.device(), /*cache=*/true);
    output = model.unroll(shown, k, c, z);
  }
  return move(diffusion, plan, shown, k, output.prediction.to(x.scalar_type()), output.z.to(z.scalar_type()), noise);
}

Tensor clipped_noise(const PlanStep& step, const CellNoise& noise, double clip, at::IntArrayRef sizes) {
  if (!noise) throw Error("sampling: this solver or policy draws noise, but SampleInput.noise is empty");
  const Tensor drawn = noise(step);
  check_shape(drawn, "cell noise", sizes.vec());
  return drawn.clamp(-clip, clip);
}

Tensor cell_noise(const CellPlan& plan, const PlanStep& step, const CellNoise& noise, double clip, const Tensor& like) {
  return plan.noisy ? clipped_noise(step, noise, clip, like.sizes()).to(like.device()) : Tensor();
}

}  // namespace df
