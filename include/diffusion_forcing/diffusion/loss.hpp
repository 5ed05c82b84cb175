// SPDX-License-Identifier: MIT
// The one loss (Chen et al. 2024, algorithm 1) and the three ways of drawing its noise. Pure functions of model and tensors.
#pragma once

#include <ATen/core/Generator.h>

#include <cstdint>

#include "diffusion_forcing/core/enum_names.hpp"
#include "diffusion_forcing/core/tensor.hpp"
#include "diffusion_forcing/diffusion/diffusion.hpp"

namespace df {

class CausalModel;

// The only difference between diffusion forcing and its baselines.
enum class TrainingNoise {
  independent,    // diffusion forcing: k ~ U{1..K} per token
  shared,         // full-sequence diffusion: one k per sequence
  clean_history,  // teacher forcing: z is carried by clean tokens (k = 0), one noisy call per token from the clean z_{t-1}
};
template <>
struct EnumNames<TrainingNoise> {
  static constexpr std::pair<std::string_view, TrainingNoise> table[] = {
      {"independent", TrainingNoise::independent}, {"shared", TrainingNoise::shared}, {"clean_history", TrainingNoise::clean_history}};
};

// The random numbers of one loss.
struct NoiseDraw {
  Tensor k;    // int64 [B, T]
  Tensor eps;  // [B, T, token...]
};
// Draws on the generator's device. `like` [B, T, token...] gives sizes and device. eps is not clamped here: the loss clamps
// it to +- clip_noise, so that recorded draws can be replayed.
// context_tokens (shared only): the first tokens get k = 0 in half of the sequences, so that chunks can be continued.
NoiseDraw draw_noise(TrainingNoise noise, int64_t levels, const Tensor& like, int64_t context_tokens, at::Generator generator);

// One batch, as the loss sees it.
struct LossInput {
  Tensor x0;    // [B, T, token...] clean, normalised tokens
  Tensor c;     // [B, T, C] external condition, or undefined
  Tensor mask;  // [B, T * frame_stack] 1 where a frame counts, or undefined
  Tensor z;     // before the first token, as CausalModel::initial_latent() gives it
};

// The loss and what else is known after computing it.
struct LossOutput {
  Tensor loss;      // scalar: mean of `weighted`
  Tensor weighted;  // [B, T, token...] squared error times weight, times mask (the mean is over ALL elements)
  Tensor x0;        // [B, T, token...] the network's clean prediction, detached
  Tensor z;         // [B, T, latent...] latents after each token (of the clean chain under clean_history)
};

// frame_stack: frames per token, stacked on the first token axis, frame-major ("(frame channel)").
LossOutput diffusion_forcing_loss(CausalModel& model, const Diffusion& diffusion, TrainingNoise noise, int64_t frame_stack,
                                  const LossInput& input, const NoiseDraw& draw);

// `loss` of the above by itself, which is all that an optimiser needs: in fewer passes over the tokens, with the same gradients.
Tensor training_loss(CausalModel& model, const Diffusion& diffusion, TrainingNoise noise, int64_t frame_stack, const LossInput& input,
                     const NoiseDraw& draw);

}  // namespace df
