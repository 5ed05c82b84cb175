// SPDX-License-Identifier: MIT
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>

#include "config/config_errors.hpp"
#include "diffusion_forcing/core/accelerator.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/data/loader.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/procedures/procedures.hpp"
#include "diffusion_forcing/procedures/token_video.hpp"
#include "diffusion_forcing/training/metric_log.hpp"
#include "diffusion_forcing/training/progress.hpp"
#include "diffusion_forcing/training/run_page.hpp"
#include "procedures/chosen_device.hpp"
#include "procedures/forecast.hpp"
#include "procedures/initial_model.hpp"
#include "procedures/model_weights.hpp"
#include "procedures/run_folder.hpp"
#include "procedures/training_samples.hpp"

namespace df {

namespace fs = std::filesystem;

namespace {

// Checks what the parts must agree on, and moves them to where they are used.
void place_parts(Parts& parts, const TrainingConfig& training, const Accelerator& place) {
  if (!parts.train || !parts.model) throw Error("training: expected a data set and a model (Parts::train, Parts::model), got none");
  const DataSpec spec = parts.train->spec();
  with_config_errors([&] {
    if (training.context_tokens >= spec.tokens && training.context_tokens > 0)
      throw Error(fmt::format("training.context_tokens: expected fewer than the {} tokens of a sequence, got {}", spec.tokens,
                              training.context_tokens));
    if (parts.model->token_shape() != spec.token.token_shape)
      throw Error(fmt::format("model: expected tokens of {} as the data set has them, got {}", to_string(spec.token.token_shape),
                              to_string(parts.model->token_shape())));
  });
  parts.model->set_recompute(training.recompute == Recompute::token);
  parts.model->train();
  parts.model->to(place.device());
  parts.diffusion = parts.diffusion.to(place.device());
}

Loader make_loader(const Parts& parts, const TrainingConfig& training, const Accelerator& place, int64_t first_batch, const Team& team) {
  const auto& trainer = training.trainer;
  const int64_t prefetch = std::max<int64_t>(4, trainer.loader_workers + 2);  // a batch for each worker, and some made
  const LoaderConfig loader{trainer.batch, trainer.loader_workers, prefetch, place.device().is_cuda(), team.rank(), team.size()};
  return Loader(parts.train, loader, derive_seed(parts.seed, Stream::order), first_batch);
}

int64_t frames_per_step(const Parts& parts, const TrainingConfig& training) {
  const DataSpec spec = parts.train->spec();
  return training.trainer.batch * spec.tokens * spec.token.frame_stack;
}

void log_start(const Parts& parts, const TrainingConfig& training, const Accelerator& place, const fs::path& run, int64_t first_step) {
  const DataSpec spec = parts.train->spec();
  spdlog::info("{}: {}", run.string(), parts.train->describe());
  spdlog::info("{:.2f} M parameters, {} tokens of {} a sequence, {} sequences a step, on {}",
               static_cast<double>(parts.model->parameter_count()) / 1e6, spec.tokens, to_string(spec.token.token_shape),
               training.trainer.batch, place.description());
  if (parts.validation) spdlog::info("held out: {}", parts.validation->describe());
  if (first_step > 0) spdlog::info("going on from step {}", first_step);
  if (const auto warning = warmup_warning(training.trainer)) spdlog::warn("{}", *warning);
}

TrainerHooks make_hooks(const Parts& parts, const TrainingConfig& training, const fs::path& run, MetricLog& log, Progress& progress) {
  const auto frames = static_cast<double>(frames_per_step(parts, training));
  TrainerHooks hooks;
  hooks.on_report = [&log, &progress, frames](const StepReport& report) {
    log.scalars(report.step, {{"train/loss", report.loss},
                              {"train/gradient_norm", report.gradient_norm},
                              {"train/learning_rate", report.rate},
                              {"train/steps_per_second", report.steps_per_second},
                              {"train/frames_per_second", report.steps_per_second * frames}});
    progress.update(report.step, fmt::format("loss {:.4g}  {:.0f} frames/s", report.loss, report.steps_per_second * frames));
  };
  if (!parts.validation) return hooks;
  hooks.on_validate = [&parts, &training, &log, &progress, run](int64_t step) {
    const auto values = validation_metrics(parts, training);
    log.scalars(step, values);
    write_training_page(run);
    progress.clear();
    spdlog::info("step {}: validation loss {:.4g}, x0 error {:.4g} at half of the levels", step, values.at("val/loss"),
                 values.at("val/x0_error/0.50"));
  };
  hooks.on_sample = [&parts, &log, run](int64_t step) {
    write_samples(parts, run, step, log);
    write_training_page(run);
  };
  hooks.validated = [&log](int64_t step) { return log.has(step, "val/loss"); };
  hooks.sampled = [&parts, run](int64_t step) { return !is_video(parts.train->spec()) || fs::exists(samples_of(run, step)); };
  return hooks;
}

// own: what run.json says of parts of one's own; empty for those of an experiment.
fs::path train_in(const OpenedRun& run, const RunDescription& description, Parts& parts, const TrainingConfig& training,
                  const TrainOptions& options, const std::map<std::string, std::string>& own) {
  const Accelerator& place = chosen_device(options.device);
  place_parts(parts, training, place);
  const NamedTensors weights = named_tensors(*parts.model);
  if (!options.init.empty() && !run.checkpoint) load_model_weights(options.init, weights, false);
  const int64_t first_step = run.checkpoint ? inspect_checkpoint(*run.checkpoint).step : 0;
  const Team& team = *options.team;
  Loader loader = make_loader(parts, training, place, first_step, team);
  Trainer trainer(training.trainer, weights, diffusion_objective(parts, training), loader, parts.seed, place.device(), options.team);
  if (run.checkpoint) trainer.load(*run.checkpoint);
  team.barrier();  // all have looked at the folder before one writes
  team.together([&] {
    if (team.first()) write_run_folder(run, description, parts.train->spec(), place.description(), first_step, own);
  });
  if (!team.first()) {
    trainer.run(run.folder, {}, options.stop);
    return run.folder;
  }
  log_start(parts, training, place, run.folder, first_step);
  MetricLog log(run.folder, first_step);
  if (!run.checkpoint) log.text(0, "config", "```yaml\n" + description.yaml + "```");
  Progress progress("train", training.trainer.steps, "steps");
  TimeForecast forecast(first_step, training.trainer.steps, place.description());
  const auto stop = [&] {
    if (const auto warning = forecast.after_step(trainer.steps_done())) {
      progress.clear();
      spdlog::warn("{}", *warning);
    }
    progress.update(trainer.steps_done());
    return options.stop && options.stop();
  };
  trainer.run(run.folder, make_hooks(parts, training, run.folder, log, progress), stop);
  progress.finish();
  log.flush();
  write_training_page(run.folder);
  return run.folder;
}

fs::path folder_of(const TrainOptions& options, const std::string& name) {
  return options.out.empty() ? fs::path("runs") / name : options.out;
}

}  // namespace

fs::path train(Parts& parts, const TrainingConfig& training, const TrainOptions& options) {
  validate(parts.name, parts.diffusion.config, training, parts.sampling);
  const RunDescription description = describe(parts, training);
  const OpenedRun run = open_run(folder_of(options, parts.name), description, options);
  const std::map<std::string, std::string> own = {
      {"data", parts.train->describe()},
      {"model", fmt::format("{} parameters, latent {}", parts.model->parameter_count(), to_string(parts.model->latent_shape()))}};
  return train_in(run, description, parts, training, options, own);
}

fs::path train(const ExperimentConfig& config, const TrainOptions& options, const Types& types) {
  validate(config);
  const RunDescription description = describe(config, types);
  const OpenedRun run = open_run(folder_of(options, config.name), description, options);  // before any data are read
  Parts parts = make_parts(config);
  return train_in(run, description, parts, config.training, options, {});
}

Parts make_parts(const ExperimentConfig& config) {
  validate(config);
  Parts parts;
  with_config_errors([&] {
    parts.train = make_dataset(config.data, Split::train);
    if (config.training.trainer.validate_every > 0 || config.training.trainer.sample_every > 0)
      parts.validation = make_dataset(config.data, Split::validation);
    parts.model = initial_model(config, parts.train->spec().token);
  });
  parts.diffusion = make_diffusion(config.diffusion);
  // Made once before the training, so that a planner that does not fit the model is told now and not after it.
  if (config.planning) make_planner({config, parts.train->spec(), parts.diffusion, parts.model, config.name, {}});
  parts.sampling = config.sampling;
  parts.name = config.name;
  parts.seed = config.seed;
  return parts;
}

DryRun dry_run(Parts& parts, const TrainingConfig& training, const std::string& device) {
  const Accelerator& place = accelerator(device);
  place_parts(parts, training, place);
  Loader loader = make_loader(parts, training, place, 0, *alone());
  Trainer trainer(training.trainer, named_tensors(*parts.model), diffusion_objective(parts, training), loader, parts.seed, place.device());
  DryRun result;
  result.data = parts.train->describe();
  result.spec = parts.train->spec();
  result.parameters = parts.model->parameter_count();
  result.device = place.description();
  result.frames_per_step = frames_per_step(parts, training);
  result.loss = trainer.step();
  place.synchronize();
  const auto start = std::chrono::steady_clock::now();
  trainer.step();
  place.synchronize();
  result.step_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  result.memory_bytes = place.peak_memory_bytes();
  return result;
}

DryRun dry_run(const ExperimentConfig& config, const std::string& device) {
  Parts parts = make_parts(config);
  return dry_run(parts, config.training, device);
}

}  // namespace df
