// SPDX-License-Identifier: MIT
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>

#include "diffusion_forcing/core/accelerator.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/data/loader.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/procedures/procedures.hpp"
#include "diffusion_forcing/training/metric_log.hpp"
#include "diffusion_forcing/training/progress.hpp"
#include "procedures/model_weights.hpp"
#include "procedures/run_folder.hpp"
#include "procedures/session.hpp"
#include "procedures/validation.hpp"

namespace df {

namespace fs = std::filesystem;

namespace {

Loader make_loader(const Session& session, const ExperimentConfig& config, int64_t first_batch) {
  const auto& trainer = config.training.trainer;
  const int64_t prefetch = std::max<int64_t>(4, trainer.loader_workers + 2);  // a batch for each worker, and some made
  const LoaderConfig loader{trainer.batch, trainer.loader_workers, prefetch, session.accelerator->device().is_cuda()};
  return Loader(session.data, loader, derive_seed(config.seed, Stream::order), first_batch);
}

int64_t frames_per_step(const Session& session, const ExperimentConfig& config) {
  return config.training.trainer.batch * session.spec.tokens * session.spec.token.frame_stack;
}

void log_start(const Session& session, const ExperimentConfig& config, const fs::path& run, int64_t first_step) {
  const auto& spec = session.spec;
  spdlog::info("{}: {}", run.string(), session.data->describe());
  spdlog::info("{:.2f} M parameters, {} tokens of {} a sequence, {} sequences a step, on {}",
               static_cast<double>(session.model->parameter_count()) / 1e6, spec.tokens, to_string(spec.token.token_shape),
               config.training.trainer.batch, session.accelerator->description());
  if (first_step > 0) spdlog::info("going on from step {}", first_step);
}

TrainerHooks make_hooks(const Session& session, const ExperimentConfig& config, const fs::path& run, MetricLog& log, Progress& progress) {
  const auto frames = static_cast<double>(frames_per_step(session, config));
  TrainerHooks hooks;
  hooks.on_report = [&log, &progress, frames](const StepReport& report) {
    log.scalars(report.step, {{"train/loss", report.loss},
                              {"train/gradient_norm", report.gradient_norm},
                              {"train/learning_rate", report.rate},
                              {"train/steps_per_second", report.steps_per_second},
                              {"train/frames_per_second", report.steps_per_second * frames}});
    progress.update(report.step, fmt::format("loss {:.4g}  {:.0f} frames/s", report.loss, report.steps_per_second * frames));
  };
  hooks.on_validate = [&](int64_t step) {
    const auto values = validate_model(session, config);
    log.scalars(step, values);
    progress.clear();
    spdlog::info("step {}: validation loss {:.4g}, x0 error {:.4g} at half of the levels", step, values.at("val/loss"),
                 values.at("val/x0_error/0.50"));
  };
  hooks.on_sample = [&session, &config, &log, run](int64_t step) { write_samples(session, config, run, step, log); };
  return hooks;
}

}  // namespace

fs::path train(const ExperimentConfig& config, const TrainOptions& options) {
  validate(config);
  const fs::path run = options.out.empty() ? fs::path("runs") / config.name : options.out;
  const auto checkpoint = check_run_folder(run, config, options.resume);
  const Session session = make_session(config, options.device);
  const NamedTensors weights = named_tensors(*session.model);
  if (!options.init.empty() && !checkpoint) load_model_weights(options.init, weights, false);
  const int64_t first_step = checkpoint ? inspect_checkpoint(*checkpoint).step : 0;
  Loader loader = make_loader(session, config, first_step);
  Trainer trainer(config.training.trainer, weights, make_objective(session, config.training), loader, config.seed,
                  session.accelerator->device());
  if (checkpoint) trainer.load(*checkpoint);
  write_run_folder(run, config, session.spec, session.accelerator->description());
  log_start(session, config, run, first_step);
  MetricLog log(run, first_step);
  if (!checkpoint) log.text(0, "config", "```yaml\n" + dump_experiment(config) + "```");
  Progress progress("train", config.training.trainer.steps, "steps");
  const auto stop = [&] {
    progress.update(trainer.steps_done());
    return options.stop && options.stop();
  };
  trainer.run(run, make_hooks(session, config, run, log, progress), stop);
  progress.finish();
  log.flush();
  return run;
}

DryRun dry_run(const ExperimentConfig& config, const std::string& device) {
  const Session session = make_session(config, device);
  Loader loader = make_loader(session, config, 0);
  Trainer trainer(config.training.trainer, named_tensors(*session.model), make_objective(session, config.training), loader, config.seed,
                  session.accelerator->device());
  DryRun result;
  result.data = session.data->describe();
  result.spec = session.spec;
  result.parameters = session.model->parameter_count();
  result.device = session.accelerator->description();
  result.frames_per_step = frames_per_step(session, config);
  result.loss = trainer.step();
  session.accelerator->synchronize();
  const auto start = std::chrono::steady_clock::now();
  trainer.step();
  session.accelerator->synchronize();
  result.step_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  result.memory_bytes = session.accelerator->peak_memory_bytes();
  return result;
}

}  // namespace df
