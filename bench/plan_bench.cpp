// SPDX-License-Identifier: MIT
// Compilation of scheduling matrices to plans.
#include <benchmark/benchmark.h>

#include "diffusion_forcing/sampling/plan.hpp"
#include "diffusion_forcing/sampling/scheduling_matrix.hpp"

namespace {

void compile_pyramid(benchmark::State& state) {
  const int64_t tokens = state.range(0), steps = state.range(1);
  const auto matrix = df::make_matrix(df::MatrixKind::pyramid, tokens, df::ladder(1000, steps), 1.0);
  int64_t cells = 0;
  for (auto _ : state) cells = df::compile(matrix, {}).cells();
  state.counters["rows"] = static_cast<double>(matrix.rows - 1);
  state.counters["cells/s"] = benchmark::Counter(static_cast<double>(cells), benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(compile_pyramid)->Args({250, 100})->Args({1000, 10})->Args({1000, 1000})->Unit(benchmark::kMillisecond);

// The streaming form that rollouts use: rows as wide as their active tokens.
void stream_pyramid(benchmark::State& state) {
  const int64_t tokens = state.range(0), steps = state.range(1);
  for (auto _ : state) {
    df::PlanBuilder builder({});
    df::RowSource rows = df::pyramid_rows(tokens, df::ladder(1000, steps), 1.0);
    df::PlanStep step;
    while (const auto row = rows()) {
      builder.push(*row);
      while (builder.pop(step)) benchmark::DoNotOptimize(step.data());
    }
    builder.finish();
    while (builder.pop(step)) benchmark::DoNotOptimize(step.data());
  }
}
BENCHMARK(stream_pyramid)->Args({250, 100})->Args({1000, 10})->Args({1000, 1000})->Unit(benchmark::kMillisecond);

}  // namespace
