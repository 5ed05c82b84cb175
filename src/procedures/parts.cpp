// SPDX-License-Identifier: MIT
#include "diffusion_forcing/procedures/parts.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>
#include <vector>

#include "diffusion_forcing/core/accelerator.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/data/loader.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "procedures/model_weights.hpp"
#include "procedures/run_folder.hpp"

namespace df {

namespace {

constexpr double error_levels[] = {0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0};  // of K

}  // namespace

Objective diffusion_objective(const Parts& parts, const TrainingConfig& training) {
  const auto model = parts.model;
  const Diffusion diffusion = parts.diffusion;
  const int64_t frame_stack = parts.train->spec().token.frame_stack;
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

std::map<std::string, double> validation_metrics(const Parts& parts, const TrainingConfig& training) {
  if (!parts.validation) throw Error("validation: expected a data set, got none (Parts::validation)");
  const at::NoGradGuard no_grad;
  const auto& trainer = training.trainer;
  const Accelerator& place = accelerator(parts.model->device().str());
  const int64_t levels = parts.diffusion.config.levels, batch_size = std::min(trainer.batch / trainer.accumulate, parts.validation->size()),
                frame_stack = parts.validation->spec().token.frame_stack;
  const bool was_training = parts.model->is_training();
  Loader loader(parts.validation, {batch_size, std::min<int64_t>(trainer.loader_workers, 1), 2},
                derive_seed(parts.seed, Stream::validation));
  parts.model->eval();
  const auto run = [&](const Batch& batch, const NoiseDraw& draw) {
    const LossInput input{batch.x, batch.c, batch.mask, parts.model->initial_latent(batch.x.size(0), batch.init)};
    return diffusion_forcing_loss(*parts.model, parts.diffusion, training.noise, frame_stack, input, draw);
  };
  std::map<std::string, double> values;
  double loss = 0.0;
  for (int64_t i = 0; i < trainer.validation_batches; ++i) {
    const Batch batch = loader.next().to(place.device());
    const auto generator = place.make_generator(derive_seed(parts.seed, Stream::validation, static_cast<uint64_t>(i) + 1));
    NoiseDraw draw = draw_noise(training.noise, levels, batch.x, training.context_tokens, generator);
    loss += run(batch, draw).loss.item<double>() / static_cast<double>(trainer.validation_batches);
    if (i > 0) continue;
    for (const double level : error_levels) {
      draw.k.fill_(std::max<int64_t>(1, std::llround(level * static_cast<double>(levels))));
      values[fmt::format("val/x0_error/{:.2f}", level)] = (run(batch, draw).x0 - batch.x).square().mean().item<double>();
    }
  }
  parts.model->train(was_training);
  values["val/loss"] = loss;
  return values;
}

std::filesystem::path load_weights(Parts& parts, const std::filesystem::path& checkpoint, bool raw) {
  if (const auto run = enclosing_run(checkpoint); run && parts.train) check_same_data(*run, parts.train->spec());
  const auto file = load_model_weights(checkpoint, named_tensors(*parts.model), raw);
  parts.model->eval();
  return file;
}

}  // namespace df
