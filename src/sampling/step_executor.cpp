// SPDX-License-Identifier: MIT
#include "sampling/step_executor.hpp"

#include <ATen/ATen.h>

#include <utility>

#include "core/upload.hpp"
#include "diffusion_forcing/core/accelerator.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "sampling/cells.hpp"
#include "sampling/recorded_steps.hpp"
#include "sampling/row_workers.hpp"

namespace df {

StepExecutor::StepExecutor(CausalModel& model, const Diffusion& diffusion, const SamplerConfig& config, int64_t batch, int64_t slots)
    : model_(model), diffusion_(diffusion), config_(config), plans_(std::make_unique<CellPlans>()), batch_(batch), slots_(slots) {
  const auto options = at::TensorOptions(at::kFloat).device(model.device());
  x_ = at::zeros(shape({batch, slots + 1}, model.token_shape()), options);
  if (model.history() > 1)
    entries_.emplace(batch, slots, model.history(), model.latent_shape(), options);
  else
    z_ = at::zeros(shape({batch, slots + 2}, model.latent_shape()), options);
  if (model.condition_dim() > 0) c_ = at::zeros({batch, slots + 1, model.condition_dim()}, options);
  record_on_these_buffers();
}

StepExecutor::~StepExecutor() = default;
StepExecutor::StepExecutor(const StepExecutor& other)
    : StepExecutor(other.model_, other.diffusion_, other.config_, other.batch_, other.slots_) {
  x_.copy_(other.x_);
  if (z_.defined()) z_.copy_(other.z_);
  if (c_.defined()) c_.copy_(other.c_);
  if (entries_) entries_ = other.entries_->copy();
}

void StepExecutor::grow(int64_t slots, int64_t first) {
  SamplerConfig without_workers = config_;
  without_workers.cpu_workers = 0;
  StepExecutor larger(model_, diffusion_, without_workers, batch_, slots);
  for (int64_t t = first; t < first + slots_; ++t) {
    larger.set_token(t, token(t));
    if (c_.defined()) larger.set_condition(t, c_.select(1, t % slots_));
  }
  if (entries_)
    entries_ = entries_->grown(slots, first, slots_);
  else
    for (int64_t t = first; t <= first + slots_; ++t) upload(latent(t), larger.z_.select(1, t % (slots + 1)));
  x_ = larger.x_;
  z_ = larger.z_;
  c_ = larger.c_;
  slots_ = slots;
  record_on_these_buffers();
}

void StepExecutor::record_on_these_buffers() {
  const bool records = !model_.device().is_cpu() && model_.history() == 1;
  recorded_ = std::make_unique<RecordedSteps>(model_, diffusion_, config_, records ? &accelerator(model_.device()) : nullptr);
}

void StepExecutor::set_token(int64_t token, const Tensor& x) { upload(x, x_.select(1, token % slots_)); }
void StepExecutor::set_condition(int64_t token, const Tensor& c) { upload(c, c_.select(1, token % slots_)); }
void StepExecutor::start(const Tensor& z) {
  if (entries_)
    entries_->start(z);
  else
    upload(z, z_.select(1, 0));
}
Tensor StepExecutor::token(int64_t token) const { return x_.select(1, token % slots_); }
Tensor StepExecutor::latent(int64_t token) const { return entries_ ? entries_->before(token) : z_.select(1, token % (slots_ + 1)); }

int64_t StepExecutor::bytes() const {
  const auto of = [](const Tensor& tensor) { return tensor.defined() ? static_cast<int64_t>(tensor.nbytes()) : 0; };
  return of(x_) + of(z_) + of(c_) + (entries_ ? entries_->bytes() : 0);
}

Tensor StepExecutor::slots_of(const PlanStep& step) const {
  return cell_column(step, x_.device(), [&](const Cell& cell) { return cell.token % slots_; });
}

StepExecutor::Gathered StepExecutor::gather(const PlanStep& step) const {
  const Tensor slots = slots_of(step);
  return {x_.index_select(1, slots), c_.defined() ? c_.index_select(1, slots) : Tensor()};
}

void StepExecutor::scatter(const PlanStep& step, const Tensor& x) {
  const auto slot = [&](const Cell& cell) { return cell.kind == CellKind::encode ? slots_ : cell.token % slots_; };
  x_.index_copy_(1, cell_column(step, x_.device(), slot), x.to(at::kFloat));
}

void StepExecutor::run(const PlanStep& step, const CellNoise& noise) {
  if (recorded_->run(step, {x_, z_, c_}, noise)) return;
  const auto [x, c] = gather(step);
  const CellPlan& plan = plans_->of(step, diffusion_, config_, x.select(0, 0));
  const Tensor drawn = cell_noise(plan, step, noise, diffusion_.config.clip_noise, x);
  if (entries_) {
    const int64_t first = step.front().token;
    const CellOutput output = run_tokens(model_, diffusion_, plan, x, c, entries_->before(first), drawn);
    scatter(step, output.x);
    entries_->set(first, output.z.to(at::kFloat));
    return;
  }
  const Tensor z_in = cell_column(step, x.device(), [&](const Cell& cell) { return cell.token % (slots_ + 1); });
  const Tensor z_out = cell_column(step, x.device(), [&](const Cell& cell) { return (cell.token + 1) % (slots_ + 1); });
  // Made here and not before: while the workers live, this thread has one thread for its operators, also where a context is encoded.
  if (!workers_ && config_.cpu_workers > 0 && model_.device().is_cpu()) workers_ = std::make_unique<RowWorkers>(config_.cpu_workers);
  const CellOutput output = run_cells(model_, diffusion_, plan, x, c, z_.index_select(1, z_in), drawn, workers_.get());
  scatter(step, output.x);
  z_.index_copy_(1, z_out, output.z.to(at::kFloat));
}

Tensor StepExecutor::encode(int64_t first, int64_t end, int64_t level) const {
  if (first == end) return latent(first).clone();
  PlanStep step;
  for (int64_t t = first; t < end; ++t) step.push_back({0, static_cast<int32_t>(t), static_cast<int32_t>(level), 0, 0, CellKind::encode});
  const auto [x, c] = gather(step);
  const CellPlan plan = plan_cells(step, diffusion_, config_, x.select(0, 0));
  return model_.latent_after(latent(first), run_tokens(model_, diffusion_, plan, x, c, latent(first), {}).z).clone();
}

}  // namespace df
