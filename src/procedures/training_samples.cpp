// SPDX-License-Identifier: MIT
#include "procedures/training_samples.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <vector>

#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/data/video_tokens.hpp"
#include "diffusion_forcing/media/media.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/procedures/token_video.hpp"
#include "diffusion_forcing/training/metric_log.hpp"

namespace df {

namespace {

constexpr int64_t sample_sequences = 4;
constexpr double sample_fps = 10.0;

}  // namespace

std::filesystem::path samples_of(const std::filesystem::path& run, int64_t step) {
  return run / "samples" / fmt::format("step_{}.mp4", step);
}

void write_samples(const Parts& parts, const std::filesystem::path& run, int64_t step, MetricLog& log) {
  const DataSpec spec = parts.train->spec();
  if (!is_video(spec)) return;
  const at::NoGradGuard no_grad;
  const bool from_data = parts.model->condition_dim() > 0 || !spec.token.init_shape.empty();
  Batch batch;
  if (from_data) {
    std::vector<Batch> samples;
    for (int64_t i = 0; i < sample_sequences; ++i) samples.push_back(parts.validation->get(i % parts.validation->size()));
    batch = stack(samples).to(parts.model->device());
  }
  RolloutInput input;
  input.tokens = from_data ? spec.tokens : 2 * spec.tokens;
  parts.model->eval();
  input.z = parts.model->initial_latent(sample_sequences, batch.init);
  input.c = batch.c;
  input.seed = derive_seed(parts.seed, Stream::sampling);
  const auto path = samples_of(run, step);
  std::vector<Tensor> pictures;
  TokenVideo video(path, spec, {sample_fps});
  rollout(*parts.model, parts.diffusion, parts.sampling, input, [&](int64_t, const Tensor& x) {
    video.write(x);
    const auto frames = tokens_to_frames(x.unsqueeze(1).cpu(), spec.token.frame_stack, spec.mean, spec.std);  // [B, F, 3, H, W]
    for (int64_t f = 0; f < frames.size(1); ++f) pictures.push_back(sheet(frames.select(1, f), sample_sequences));
  });
  video.close();
  parts.model->train();
  log.video(step, "samples", at::stack(pictures), sample_fps);
}

}  // namespace df
