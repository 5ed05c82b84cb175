// SPDX-License-Identifier: MIT
// The `training` section of an experiment: the trainer's settings, and what diffusion adds to them.
#pragma once

#include <cstdint>

#include "diffusion_forcing/core/enum_names.hpp"
#include "diffusion_forcing/diffusion/loss.hpp"
#include "diffusion_forcing/training/trainer.hpp"

namespace df {

// What a training step keeps for its backward pass.
enum class Recompute {
  none,   // all activations
  token,  // the inputs of each token, whose activations are computed again: memory for time
};
template <>
struct EnumNames<Recompute> {
  static constexpr std::pair<std::string_view, Recompute> table[] = {{"none", Recompute::none}, {"token", Recompute::token}};
};

// The section `training`: how noise is drawn, and the trainer's keys.
struct TrainingConfig {
  TrainingNoise noise = TrainingNoise::independent;
  int64_t context_tokens = 0;  // shared noise only: leading tokens that are clean in half of the sequences
  Recompute recompute = Recompute::none;
  TrainerConfig trainer;
  template <class V>
  void visit(V&& v) {
    v("noise", noise, "independent: diffusion forcing; shared: full-sequence diffusion; clean_history: teacher forcing");
    v("context_tokens", context_tokens, "shared noise only: leading tokens clean in half of the sequences");
    v("recompute", recompute, "token: activations are computed again in the backward pass, for long sequences");
    trainer.visit(v);
  }
};

}  // namespace df
