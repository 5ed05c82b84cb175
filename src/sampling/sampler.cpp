// SPDX-License-Identifier: MIT
#include "diffusion_forcing/sampling/sampler.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <fmt/format.h>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "sampling/step_executor.hpp"

namespace df {

namespace {

void check_input(const CausalModel& model, const Plan& plan, const SampleInput& input) {
  check_shape(input.x, "x", shape({-1, plan.tokens}, model.token_shape()));
  model.check_latent(input.z, input.x.size(0), "z");
  if (plan.history != model.history())
    throw Error(fmt::format("sampling: expected a plan for the model's history of {} tokens (PlanPolicy::history), got one for {}",
                            model.history(), plan.history));
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
  executor.start(input.z);
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
  return model.latent_after(z, model.unroll(x, k, c, z).z);
}

}  // namespace df
