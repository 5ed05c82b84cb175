// SPDX-License-Identifier: MIT
#include "diffusion_forcing/diffusion/loss.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>

#include "diffusion/clean_history.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/shape.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "ops/token_error.hpp"

namespace df {

namespace {

// [B, T, rest...] -> [B * T, rest...].
Tensor as_cells(const Tensor& sequence) { return sequence.flatten(0, 1); }

// Every token from the latent that clean tokens leave: one clean pass over the sequence, then one batched call on all noisy tokens.
SequenceOutput teacher_forced(CausalModel& model, const Tensor& x0, const Tensor& x, const Tensor& k, const Tensor& c, const Tensor& z) {
  const auto chain = model.unroll(x0, at::zeros_like(k), c, z).z;  // [B, T, latent...]
  return {predict_after(model, x, k, c, z, chain), chain};
}

// A teacher-forced token has a perfectly clean history, which says nothing about how much of the token itself survives its noise: the
// fused and cumulative weights would be constant, so the token's own SNR decides.
LossWeight effective_weight(LossWeight weight, TrainingNoise noise) {
  const bool uses_history = weight == LossWeight::fused_snr || weight == LossWeight::cumulative_snr;
  return noise == TrainingNoise::clean_history && uses_history ? LossWeight::min_snr : weight;
}

// [B, T] factor of the squared error in the network's output space. Clean tokens (level 0) have nothing to denoise and count 0.
Tensor token_weight(const Diffusion& diffusion, TrainingNoise noise, int64_t frame_stack, const Tensor& k) {
  const auto& config = diffusion.config;
  const auto snr = at_level(diffusion.schedule.snr, k.clamp_min(1), k);
  const double decay = std::pow(config.snr_decay, static_cast<double>(frame_stack));
  const auto weight = loss_weight(effective_weight(config.weight, noise), config.loss, snr, config.snr_clip, decay);
  return weight * squared_error_ratio(config.loss, config.output, snr) * (k > 0);
}

// Noisy tokens, and what the network is to give for them, as mixes of x0 and eps: both are linear in them, so that their factors are what
// `add_noise` and `encode` make of a 1 and a 0.
struct TrainingTokens {
  ops::TokenMix noisy, target;
};
TrainingTokens training_tokens(const Diffusion& diffusion, const Tensor& x0, const Tensor& k, const Tensor& eps) {
  const auto& [config, schedule] = diffusion;
  const auto one = at::ones_like(k, at::kFloat), none = at::zeros_like(one);
  const ops::TokenMix noisy{x0, eps, add_noise(schedule, one, k, none), add_noise(schedule, none, k, one), config.clip_noise};
  const auto factor = [&](const Tensor& of_x0, const Tensor& of_eps) { return encode(config.output, schedule, of_x0, k, of_eps); };
  const bool without_x0 = config.output == Space::eps, without_eps = config.output == Space::x0;
  return {noisy, {without_x0 ? Tensor() : x0, without_eps ? Tensor() : eps, factor(one, none), factor(none, one), config.clip_noise}};
}

SequenceOutput predicted(CausalModel& model, TrainingNoise noise, const LossInput& input, const Tensor& x, const Tensor& k) {
  return noise == TrainingNoise::clean_history ? teacher_forced(model, input.x0, x, k, input.c, input.z)
                                               : model.unroll(x, k, input.c, input.z);
}

// mask [B, T F] times error [B, T, F C, ...]: each frame's entry covers its own channels.
Tensor apply_mask(const Tensor& error, const Tensor& mask, int64_t frame_stack) {
  const auto frames = error.unflatten(2, Shape{frame_stack, -1});                 // [B, T, F, C, ...]
  const auto per_frame = mask.view({error.size(0), error.size(1), frame_stack});  // [B, T, F]
  return (frames * per_token(per_frame, frames)).view(error.sizes());
}

void check(const CausalModel& model, int64_t frame_stack, const LossInput& input, const NoiseDraw& draw) {
  check_shape(input.x0, "loss input x0", shape({-1, -1}, model.token_shape()));
  const int64_t batch = input.x0.size(0), tokens = input.x0.size(1);
  check_shape(draw.k, "noise draw k", {batch, tokens});
  check_shape(draw.eps, "noise draw eps", input.x0.sizes().vec());
  model.check_latent(input.z, batch, "loss input z");
  if (model.condition_dim() > 0) check_shape(input.c, "loss input c", {batch, tokens, model.condition_dim()});
  if (frame_stack < 1 || input.x0.size(2) % frame_stack != 0)
    throw Error(fmt::format("loss: frame stack {} does not divide the token's first size {}", frame_stack, input.x0.size(2)));
  if (input.mask.defined()) check_shape(input.mask, "loss input mask", {batch, tokens * frame_stack});
}

}  // namespace

NoiseDraw draw_noise(TrainingNoise noise, int64_t levels, const Tensor& like, int64_t context_tokens, at::Generator generator) {
  const int64_t batch = like.size(0), tokens = like.size(1);
  const bool shared = noise == TrainingNoise::shared;
  if (context_tokens < 0 || context_tokens >= tokens || (context_tokens > 0 && !shared))
    throw Error(
        fmt::format("training.context_tokens: expected 0, or with shared noise less than a sequence's {} tokens, got {} with {} noise",
                    tokens, context_tokens, enum_name(noise)));
  const auto options = at::TensorOptions(generator.device());
  auto k = at::randint(1, levels + 1, {batch, shared ? 1 : tokens}, generator, options.dtype(at::kLong)).repeat({1, shared ? tokens : 1});
  if (context_tokens > 0) k.slice(1, 0, context_tokens) *= at::randint(0, 2, {batch, 1}, generator, options.dtype(at::kLong));
  return {k.to(like.device()), at::randn(like.sizes(), generator, options.dtype(at::kFloat)).to(like.device())};
}

LossOutput diffusion_forcing_loss(CausalModel& model, const Diffusion& diffusion, TrainingNoise noise, int64_t frame_stack,
                                  const LossInput& input, const NoiseDraw& draw) {
  check(model, frame_stack, input, draw);
  const auto& [config, schedule] = diffusion;
  const auto eps = draw.eps.clamp(-config.clip_noise, config.clip_noise);
  const auto x = add_noise(schedule, input.x0, draw.k, eps);
  const auto out = predicted(model, noise, input, x, draw.k);
  // The error is taken where the network gives it; its weight carries the exact factor to the loss space.
  const auto target = encode(config.output, schedule, input.x0, draw.k, eps);
  auto weighted = (target - out.prediction).square() * per_token(token_weight(diffusion, noise, frame_stack, draw.k), target);
  if (input.mask.defined()) weighted = apply_mask(weighted, input.mask, frame_stack);
  const auto denoised = decode(config.output, schedule, x, draw.k, out.prediction.detach(), config.clip_noise);
  return {weighted.mean(), weighted, denoised.x0, out.z};
}

Tensor training_loss(CausalModel& model, const Diffusion& diffusion, TrainingNoise noise, int64_t frame_stack, const LossInput& input,
                     const NoiseDraw& draw) {
  check(model, frame_stack, input, draw);
  const auto tokens = training_tokens(diffusion, as_cells(input.x0), as_cells(draw.k), as_cells(draw.eps));
  const auto out = predicted(model, noise, input, ops::mix_tokens(tokens.noisy).view(input.x0.sizes()), draw.k);
  auto weight = token_weight(diffusion, noise, frame_stack, draw.k).view({-1, 1});  // [B * T, frames or 1]
  if (input.mask.defined()) weight = weight * input.mask.view({-1, frame_stack});
  return ops::weighted_error({tokens.target, as_cells(out.prediction), weight});
}

}  // namespace df
