// SPDX-License-Identifier: MIT
#include "diffusion_forcing/sampling/rollout.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "sampling/token_queue.hpp"

namespace df {

namespace {

bool streams(MatrixKind kind) { return kind == MatrixKind::pyramid || kind == MatrixKind::autoregressive; }

// A schedule over any number of tokens.
struct Program {
  RowSource rows;
  std::vector<int32_t> ladder;
  double cells_a_token = 0.0;  // estimate, for progress
};

Program make_program(const RolloutConfig& config, int64_t levels, int64_t tokens) {
  Program program;
  SchedulingMatrix chunk;
  if (const auto kind = parse_schedule(config.schedule)) {
    program.ladder = ladder(levels, config.steps);
    if (streams(*kind) && !(*kind == MatrixKind::pyramid && config.slope == 0)) {
      const double slope = *kind == MatrixKind::autoregressive ? static_cast<double>(config.steps) : config.slope;
      program.rows = pyramid_rows(tokens, program.ladder, slope);
      program.cells_a_token = static_cast<double>(config.steps) + (config.policy.finished == Finished::reencode);
      return program;
    }
    chunk = make_matrix(*kind, std::min(config.horizon, tokens), program.ladder, config.slope);
  } else {
    chunk = read_matrix(config.schedule);
    validate(chunk, levels, config.schedule);
    program.ladder = ladder_of(chunk);
  }
  program.cells_a_token = static_cast<double>(compile(chunk, config.policy).cells()) / static_cast<double>(chunk.tokens);
  program.rows = matrix_rows(std::move(chunk), tokens);
  return program;
}

// Standard normal [count, token...] of sequences first .. first + count - 1: each depends on (seed, sequence, token) only.
Tensor token_noise(uint64_t seed, int64_t first, int64_t count, int64_t token, const Shape& token_shape) {
  std::vector<Tensor> draws;
  for (int64_t b = first; b < first + count; ++b)
    draws.push_back(seeded_normal(token_shape, derive_seed(seed, {static_cast<uint64_t>(b), static_cast<uint64_t>(token)})));
  return at::stack(draws);
}

// Growing later throws recorded steps away, and on a device that records memory is not short.
int64_t first_slots(const CausalModel& model) { return model.device().is_cpu() ? 8 : 128; }

// Runs the steps of a program on a ring of slots and hands out tokens as they settle.
class TokenStream {
 public:
  // z [B, latent...] before the first token, c [B, tokens, C] or undefined.
  TokenStream(CausalModel& model, const Diffusion& diffusion, const RolloutConfig& config, const RolloutInput& input, const Tensor& z,
              Tensor c, const TokenSink& sink)
      : token_shape_(model.token_shape()),
        clip_(diffusion.config.clip_noise),
        seed_(derive_seed(input.seed, Stream::sampling)),
        first_sequence_(input.first_sequence),
        batch_(z.size(0)),
        c_(std::move(c)),
        queue_(sink),
        executor_(model, diffusion, config.sampler, batch_, first_slots(model)),
        noise_(seeded_cell_noise(derive_seed(input.seed, Stream::noise), shape({batch_}, token_shape_), first_sequence_)) {
    executor_.set_latent(0, z);
  }

  void run(const PlanStep& step) {
    for (const Cell& cell : step)
      while (cell.token >= entered_) enter();
    executor_.run(step, noise_);
    stats_.cells += static_cast<int64_t>(step.size());
    ++stats_.steps;
  }

  // Hands out the tokens before `settled`; their slots are free.
  void settle(int64_t settled) {
    for (; settled_ < std::min(settled, entered_); ++settled_) queue_.push(settled_, executor_.token(settled_));
  }
  void flush() { queue_.flush(); }

  RolloutStats& stats() { return stats_; }

 private:
  void enter() {
    if (entered_ - settled_ == executor_.slots()) executor_.grow(2 * executor_.slots(), settled_);
    executor_.set_token(entered_, token_noise(seed_, first_sequence_, batch_, entered_, token_shape_).clamp(-clip_, clip_));
    if (c_.defined()) executor_.set_condition(entered_, c_.select(1, entered_));
    ++entered_;
  }

  Shape token_shape_;
  double clip_;
  uint64_t seed_;
  int64_t first_sequence_, batch_;
  Tensor c_;
  TokenQueue queue_;
  StepExecutor executor_;
  CellNoise noise_;
  int64_t entered_ = 0, settled_ = 0;
  RolloutStats stats_;
};

// The latent after the context, if there is one.
Tensor latent_after_context(CausalModel& model, const Diffusion& diffusion, const RolloutConfig& config, const RolloutInput& input) {
  if (!input.context.defined() || input.context.size(1) == 0) return input.z;
  const int64_t B = input.context.size(0), T = input.context.size(1);
  std::vector<Tensor> eps;
  for (int64_t t = 0; t < T; ++t)
    eps.push_back(token_noise(derive_seed(input.seed, Stream::context), input.first_sequence, B, t, model.token_shape()));
  const Tensor c = input.c.defined() ? input.c.narrow(1, 0, T) : input.c;
  return encode_context(model, diffusion, input.context, config.policy.stabilization, at::stack(eps, 1).to(input.context.device()), c,
                        input.z);
}

void check_input(const CausalModel& model, const RolloutInput& input) {
  if (input.tokens < 1) throw Error(fmt::format("rollout: expected at least 1 token, got {}", input.tokens));
  check_shape(input.z, "rollout latent", shape({-1}, model.latent_shape()));
  int64_t context = 0;
  if (input.context.defined()) {
    check_shape(input.context, "rollout context", shape({input.z.size(0), -1}, model.token_shape()));
    context = input.context.size(1);
  }
  if (model.condition_dim() > 0)
    check_shape(input.c, "rollout condition", {input.z.size(0), context + input.tokens, model.condition_dim()});
}

}  // namespace

RolloutStats rollout(CausalModel& model, const Diffusion& diffusion, const RolloutConfig& config, const RolloutInput& input,
                     const TokenSink& sink, const RolloutProgress& progress) {
  const c10::NoGradGuard no_grad;
  check_input(model, input);
  validate(config, diffusion.schedule.levels());
  const auto start = std::chrono::steady_clock::now();
  Program program = make_program(config, diffusion.schedule.levels(), input.tokens);
  const int64_t context = input.context.defined() ? input.context.size(1) : 0;
  const Tensor c = model.condition_dim() > 0 ? input.c.narrow(1, context, input.tokens) : Tensor();
  TokenStream stream(model, diffusion, config, input, latent_after_context(model, diffusion, config, input), c, sink);
  PlanBuilder builder(config.policy, program.ladder);
  const double expected_cells = program.cells_a_token * static_cast<double>(input.tokens);
  const auto drain = [&] {
    for (PlanStep step; builder.pop(step);) {
      stream.run(step);
      stream.settle(builder.settled());
      if (progress) progress(std::min(1.0, static_cast<double>(stream.stats().cells) / expected_cells), stream.stats().cells);
    }
  };
  while (const auto row = program.rows()) {
    builder.push(*row);
    drain();
  }
  builder.finish();
  drain();
  stream.settle(input.tokens);
  stream.flush();
  stream.stats().seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return stream.stats();
}

}  // namespace df
