// SPDX-License-Identifier: MIT
// 1000 frames (250 tokens, 10 steps) of the quickstart's network on one thread: planned, and as a loop over rows and tokens.
#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>

#include "diffusion_forcing/config/roles.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/sampling/rollout.hpp"
#include "quick_network.hpp"

namespace {

constexpr int64_t tokens = 250, steps = 10;

struct Setting {
  std::shared_ptr<df::CausalModel> model;
  df::Diffusion diffusion;
};

Setting make_setting() {
  at::set_num_threads(1);
  df::DiffusionConfig diffusion;
  diffusion.output = df::Space::x0;
  return {df::make_model(df::bench::quick_network(), {{12, 32, 32}, 0, {}, 4}, 0), df::make_diffusion(diffusion)};
}

void report(benchmark::State& state, int64_t cells) {
  state.counters["cells"] = static_cast<double>(cells);
  state.counters["frames/s"] = benchmark::Counter(static_cast<double>(4 * tokens), benchmark::Counter::kIsIterationInvariantRate);
}

void planned(benchmark::State& state, const char* schedule) {
  const Setting setting = make_setting();
  df::RolloutConfig config;
  config.schedule = schedule;
  config.steps = steps;
  df::RolloutInput input;
  input.tokens = tokens;
  input.z = setting.model->initial_latent(1, {});
  int64_t cells = 0;
  for (auto _ : state) cells = df::rollout(*setting.model, setting.diffusion, config, input, [](int64_t, const df::Tensor&) {}).cells;
  report(state, cells);
}
BENCHMARK_CAPTURE(planned, pyramid, "pyramid")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(planned, autoregressive, "autoregressive")->Unit(benchmark::kMillisecond);

// Every cell of the matrix, one call each: what the authors' loop does.
void naive_pyramid(benchmark::State& state) {
  const Setting setting = make_setting();
  df::PlanPolicy policy;
  policy.unchanged = df::Unchanged::reference;
  const auto matrix = df::make_matrix(df::MatrixKind::pyramid, tokens, df::ladder(setting.diffusion.schedule.levels(), steps), 1.0);
  df::SampleInput input;
  input.x = df::seeded_normal(df::shape({1, tokens}, setting.model->token_shape()), 1);
  input.z = setting.model->initial_latent(1, {});
  const df::Plan plan = df::compile(matrix, policy);
  for (auto _ : state) benchmark::DoNotOptimize(df::sample(*setting.model, setting.diffusion, plan, {}, input).x.data_ptr());
  report(state, plan.cells());
}
BENCHMARK(naive_pyramid)->Iterations(1)->Unit(benchmark::kMillisecond);

}  // namespace
