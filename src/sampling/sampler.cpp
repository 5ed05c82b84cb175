// SPDX-License-Identifier: MIT
#include "diffusion_forcing/sampling/sampler.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "core/upload.hpp"
#include "diffusion_forcing/core/accelerator.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "sampling/cells.hpp"
#include "sampling/recorded_steps.hpp"
#include "sampling/row_workers.hpp"

namespace df {

namespace {

void check_input(const CausalModel& model, const Plan& plan, const SampleInput& input) {
  check_shape(input.x, "x", shape({-1, plan.tokens}, model.token_shape()));
  check_shape(input.z, "z", shape({input.x.size(0)}, model.latent_shape()));
  if (model.condition_dim() > 0) check_shape(input.c, "c", {input.x.size(0), plan.tokens, model.condition_dim()});
}

}  // namespace

CellNoise seeded_cell_noise(uint64_t seed, Shape batch_and_token_shape, int64_t first_sequence) {
  return [seed, first_sequence, batch = batch_and_token_shape.at(0),
          token = Shape(batch_and_token_shape.begin() + 1, batch_and_token_shape.end())](const PlanStep& cells) {
    std::vector<Tensor> draws;
    for (int64_t b = 0; b < batch; ++b)
      for (const Cell& cell : cells)
        draws.push_back(seeded_normal(token, derive_seed(seed, {static_cast<uint64_t>(first_sequence + b), static_cast<uint64_t>(cell.row),
                                                                static_cast<uint64_t>(cell.token)})));
    return at::stack(draws).view(shape({batch, static_cast<int64_t>(cells.size())}, token));
  };
}

StepExecutor::StepExecutor(CausalModel& model, const Diffusion& diffusion, const SamplerConfig& config, int64_t batch, int64_t slots)
    : model_(model),
      diffusion_(diffusion),
      config_(config),
      plans_(std::make_shared<CellPlans>()),
      batch_(batch),
      slots_(slots),
      recorded_(
          std::make_shared<RecordedSteps>(model, diffusion, config, model.device().is_cpu() ? nullptr : &accelerator(model.device()))) {
  const auto options = at::TensorOptions(at::kFloat).device(model.device());
  if (config_.cpu_workers > 0 && model.device().is_cpu()) workers_ = std::make_shared<RowWorkers>(config_.cpu_workers);
  x_ = at::zeros(shape({batch, slots + 1}, model.token_shape()), options);
  z_ = at::zeros(shape({batch, slots + 2}, model.latent_shape()), options);
  if (model.condition_dim() > 0) c_ = at::zeros({batch, slots + 1, model.condition_dim()}, options);
}

void StepExecutor::grow(int64_t slots, int64_t first) {
  SamplerConfig without_workers = config_;
  without_workers.cpu_workers = 0;
  StepExecutor larger(model_, diffusion_, without_workers, batch_, slots);
  for (int64_t t = first; t < first + slots_; ++t) {
    larger.set_token(t, token(t));
    larger.set_latent(t, latent(t));
    if (c_.defined()) larger.set_condition(t, c_.select(1, t % slots_));
  }
  larger.set_latent(first + slots_, latent(first + slots_));
  x_ = larger.x_;
  z_ = larger.z_;
  c_ = larger.c_;
  recorded_ = larger.recorded_;
  slots_ = slots;
}

void StepExecutor::set_token(int64_t token, const Tensor& x) { upload(x, x_.select(1, token % slots_)); }
void StepExecutor::set_condition(int64_t token, const Tensor& c) { upload(c, c_.select(1, token % slots_)); }
void StepExecutor::set_latent(int64_t token, const Tensor& z) { upload(z, z_.select(1, token % (slots_ + 1))); }
Tensor StepExecutor::token(int64_t token) const { return x_.select(1, token % slots_); }
Tensor StepExecutor::latent(int64_t token) const { return z_.select(1, token % (slots_ + 1)); }

void StepExecutor::run(const PlanStep& step, const CellNoise& noise) {
  if (recorded_->run(step, {x_, z_, c_}, noise)) return;
  const at::Device device = x_.device();
  const Tensor token_slot = cell_column(step, device, [&](const Cell& cell) { return cell.token % slots_; });
  const Tensor z_in = cell_column(step, device, [&](const Cell& cell) { return cell.token % (slots_ + 1); });
  const Tensor z_out = cell_column(step, device, [&](const Cell& cell) { return (cell.token + 1) % (slots_ + 1); });
  const Tensor x_out =
      cell_column(step, device, [&](const Cell& cell) { return cell.kind == CellKind::encode ? slots_ : cell.token % slots_; });
  const Tensor x = x_.index_select(1, token_slot), z = z_.index_select(1, z_in);
  const Tensor c = c_.defined() ? c_.index_select(1, token_slot) : Tensor();
  const CellPlan& plan = plans_->of(step, diffusion_, config_, x.select(0, 0));
  const CellOutput output =
      run_cells(model_, diffusion_, plan, x, c, z, cell_noise(plan, step, noise, diffusion_.config.clip_noise, x), workers_.get());
  x_.index_copy_(1, x_out, output.x.to(at::kFloat));
  z_.index_copy_(1, z_out, output.z.to(at::kFloat));
}

SampleOutput sample(CausalModel& model, const Diffusion& diffusion, const Plan& plan, const SamplerConfig& config, const SampleInput& input,
                    const RowObserver& on_row) {
  const c10::NoGradGuard no_grad;
  check_input(model, plan, input);
  const int64_t B = input.x.size(0), T = plan.tokens;
  const double clip = diffusion.config.clip_noise;
  StepExecutor executor(model, diffusion, config, B, T);
  for (int64_t t = 0; t < T; ++t) {
    executor.set_token(t, input.x.select(1, t).clamp(-clip, clip));
    if (model.condition_dim() > 0) executor.set_condition(t, input.c.select(1, t));
  }
  executor.set_latent(0, input.z);
  const auto tokens = [&] {
    std::vector<Tensor> all;
    for (int64_t t = 0; t < T; ++t) all.push_back(executor.token(t));
    return at::stack(all, 1);
  };
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    executor.run(plan.steps[i], input.noise);
    const int32_t row = plan.steps[i].back().row;
    if (on_row && (i + 1 == plan.steps.size() || plan.steps[i + 1].front().row != row)) on_row(row, tokens());
  }
  return {tokens(), executor.latent(T).clone()};
}

Tensor encode_context(CausalModel& model, const Diffusion& diffusion, const Tensor& x0, int64_t level, const Tensor& eps, const Tensor& c,
                      const Tensor& z) {
  const c10::NoGradGuard no_grad;
  check_shape(x0, "context", shape({-1, -1}, model.token_shape()));
  const Tensor k = at::full({x0.size(0), x0.size(1)}, level, at::TensorOptions(at::kLong).device(x0.device()));
  Tensor x = x0;
  if (level > 0) {
    check_shape(eps, "context noise", x0.sizes().vec());
    x = add_noise(diffusion.schedule, x0, k, eps.clamp(-diffusion.config.clip_noise, diffusion.config.clip_noise));
  }
  return model.unroll(x, k, c, z).z.select(1, x0.size(1) - 1);
}

}  // namespace df
