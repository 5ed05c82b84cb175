// SPDX-License-Identifier: MIT
#include "diffusion_forcing/sampling/rollout.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/sampling/rollout_stream.hpp"
#include "sampling/rollout_program.hpp"
#include "sampling/token_queue.hpp"

namespace df {

namespace {

// Tokens of the context.
int64_t check_input(const CausalModel& model, const RolloutInput& input) {
  if (input.tokens < 1) throw Error(fmt::format("rollout: expected at least 1 token, got {}", input.tokens));
  if (!input.z.defined()) throw Error("rollout latent: expected the latent before the context, got an undefined tensor");
  model.check_latent(input.z, input.z.size(0), "rollout latent");
  int64_t context = 0;
  if (input.context.defined()) {
    check_shape(input.context, "rollout context", shape({input.z.size(0), -1}, model.token_shape()));
    context = input.context.size(1);
  }
  if (model.condition_dim() > 0)
    check_shape(input.c, "rollout condition", {input.z.size(0), context + input.tokens, model.condition_dim()});
  return context;
}

}  // namespace

RolloutStats rollout(CausalModel& model, const Diffusion& diffusion, const RolloutConfig& config, const RolloutInput& input,
                     const TokenSink& sink, const RolloutProgress& progress) {
  const auto start = std::chrono::steady_clock::now();
  const int64_t context = check_input(model, input), levels = diffusion.schedule.levels();
  RolloutStream stream(model, diffusion, config, input.z.size(0), input.seed, {input.z, input.first_sequence});
  if (progress) {
    PlanPolicy policy = config.policy;
    policy.history = model.history();
    const double cells = make_program(config, levels, input.tokens).cells_a_token(policy) * static_cast<double>(input.tokens);
    stream.on_step(
        [&progress, cells](const RolloutStats& stats) { progress(std::min(1.0, static_cast<double>(stats.cells) / cells), stats.cells); });
  }
  const Tensor c = model.condition_dim() > 0 ? input.c : Tensor();
  if (context > 0) stream.context(input.context, c.defined() ? c.narrow(1, 0, context) : c);
  stream.end(input.tokens);
  for (int64_t t = 0; c.defined() && t < input.tokens; ++t) stream.push(c.select(1, context + t));
  TokenQueue queue(sink);
  int64_t index = 0;
  while (const auto x = stream.next()) queue.push(index++, *x);
  queue.flush();
  RolloutStats stats = stream.stats();
  stats.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return stats;
}

}  // namespace df
