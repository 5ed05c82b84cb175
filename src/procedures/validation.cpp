// SPDX-License-Identifier: MIT
#include "procedures/validation.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "diffusion_forcing/core/accelerator.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/data/loader.hpp"
#include "diffusion_forcing/data/video_tokens.hpp"
#include "diffusion_forcing/media/media.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/procedures/token_video.hpp"
#include "diffusion_forcing/training/metric_log.hpp"

namespace df {

namespace {

constexpr double error_levels[] = {0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0};
constexpr int64_t sample_sequences = 4;
constexpr double sample_fps = 10.0;

}  // namespace

std::map<std::string, double> validate_model(const Session& session, const ExperimentConfig& config) {
  const at::NoGradGuard no_grad;
  const auto& trainer = config.training.trainer;
  const int64_t levels = config.diffusion.levels, batch_size = std::min(trainer.batch / trainer.accumulate, session.validation->size());
  Loader loader(session.validation, {batch_size, std::min<int64_t>(trainer.loader_workers, 1), 2},
                derive_seed(config.seed, Stream::validation));
  session.model->eval();
  const auto run = [&](const Batch& batch, const NoiseDraw& draw) {
    const LossInput input{batch.x, batch.c, batch.mask, session.model->initial_latent(batch.x.size(0), batch.init)};
    return diffusion_forcing_loss(*session.model, session.diffusion, config.training.noise, session.spec.token.frame_stack, input, draw);
  };
  std::map<std::string, double> values;
  double loss = 0.0;
  for (int64_t i = 0; i < trainer.validation_batches; ++i) {
    const Batch batch = loader.next().to(session.accelerator->device());
    const auto generator = session.accelerator->make_generator(derive_seed(config.seed, Stream::validation, static_cast<uint64_t>(i) + 1));
    NoiseDraw draw = draw_noise(config.training.noise, levels, batch.x, config.training.context_tokens, generator);
    loss += run(batch, draw).loss.item<double>() / static_cast<double>(trainer.validation_batches);
    if (i > 0) continue;
    for (const double level : error_levels) {
      draw.k.fill_(std::max<int64_t>(1, std::llround(level * static_cast<double>(levels))));
      values[fmt::format("val/x0_error/{:.2f}", level)] = (run(batch, draw).x0 - batch.x).square().mean().item<double>();
    }
  }
  session.model->train();
  values["val/loss"] = loss;
  return values;
}

void write_samples(const Session& session, const ExperimentConfig& config, const std::filesystem::path& run, int64_t step, MetricLog& log) {
  const DataSpec& spec = session.spec;
  if (!is_video(spec)) return;
  const at::NoGradGuard no_grad;
  const bool from_data = session.model->condition_dim() > 0 || !spec.token.init_shape.empty();
  Batch batch;
  if (from_data) {
    std::vector<Batch> samples;
    for (int64_t i = 0; i < sample_sequences; ++i) samples.push_back(session.validation->get(i % session.validation->size()));
    batch = stack(samples).to(session.accelerator->device());
  }
  RolloutInput input;
  input.tokens = from_data ? spec.tokens : 2 * spec.tokens;
  session.model->eval();
  input.z = session.model->initial_latent(sample_sequences, batch.init);
  input.c = batch.c;
  input.seed = derive_seed(config.seed, Stream::sampling);
  const auto path = run / "samples" / fmt::format("step_{}.mp4", step);
  std::vector<Tensor> pictures;
  TokenVideo video(path, spec, {sample_fps});
  rollout(*session.model, session.diffusion, config.sampling, input, [&](int64_t, const Tensor& x) {
    video.write(x);
    const auto frames = tokens_to_frames(x.unsqueeze(1).cpu(), spec.token.frame_stack, spec.mean, spec.std);  // [B, F, 3, H, W]
    for (int64_t f = 0; f < frames.size(1); ++f) pictures.push_back(sheet(frames.select(1, f), sample_sequences));
  });
  video.close();
  session.model->train();
  log.video(step, "samples", at::stack(pictures), sample_fps);
}

}  // namespace df
