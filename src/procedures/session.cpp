// SPDX-License-Identifier: MIT
#include "procedures/session.hpp"
#include "config/config_errors.hpp"

#include <fmt/format.h>

#include "diffusion_forcing/core/accelerator.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/models/causal_model.hpp"

namespace df {

Session make_session(const ExperimentConfig& config, const std::string& device) {
  validate(config);
  Session session;
  session.accelerator = &accelerator(device);
  with_config_errors([&] {
    session.data = make_dataset(config.data, Split::train);
    if (config.training.trainer.validate_every > 0 || config.training.trainer.sample_every > 0)
      session.validation = make_dataset(config.data, Split::validation);
    session.spec = session.data->spec();
    if (config.training.context_tokens >= session.spec.tokens && config.training.context_tokens > 0)
      throw Error(fmt::format("training.context_tokens: expected fewer than the {} tokens of a sequence, got {}", session.spec.tokens,
                              config.training.context_tokens));
    session.model = make_model(config.model, session.spec.token, derive_seed(config.seed, Stream::weights));
  });
  session.model->set_recompute(config.training.recompute == Recompute::token);
  const at::Device place = session.accelerator->device();
  session.model->to(place);
  session.diffusion = make_diffusion(config.diffusion).to(place);
  return session;
}

Objective make_objective(const Session& session, const TrainingConfig& training) {
  const auto model = session.model;
  const Diffusion diffusion = session.diffusion;
  const int64_t frame_stack = session.spec.token.frame_stack;
  Objective objective;
  objective.draw = [=](const Batch& batch, at::Generator generator) -> std::vector<Tensor> {
    const NoiseDraw draw = draw_noise(training.noise, diffusion.config.levels, batch.x, training.context_tokens, std::move(generator));
    return {draw.k, draw.eps};
  };
  objective.loss = [=](const Batch& batch, const std::vector<Tensor>& draws) {
    const LossInput input{batch.x, batch.c, batch.mask, model->initial_latent(batch.x.size(0), batch.init)};
    return training_loss(*model, diffusion, training.noise, frame_stack, input, {draws[0], draws[1]});
  };
  return objective;
}

}  // namespace df
