// SPDX-License-Identifier: MIT
// Steps a second of the mazes, alone and side by side, and rows a second of D4RL's data.
#include <ATen/ATen.h>
#include <benchmark/benchmark.h>

#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/maze2d/maze2d_batch.hpp"
#include "diffusion_forcing/maze2d/maze2d_data.hpp"
#include "diffusion_forcing/maze2d/maze2d_generate.hpp"

namespace {

constexpr const char* mazes[] = {"umaze", "medium", "large"};

void label(benchmark::State& state, const char* unit, int64_t each) {
  state.SetLabel(mazes[state.range(0)]);
  state.counters[unit] = benchmark::Counter(static_cast<double>(state.iterations() * each), benchmark::Counter::kIsRate);
}

// Actions held for a while, so that about half of the steps are in contact with a wall.
void step(benchmark::State& state) {
  df::Maze2d world(df::maze2d_layout(mazes[state.range(0)]),
                   {.physics = state.range(1) ? df::Maze2dPhysics::fast : df::Maze2dPhysics::exact});
  df::NumpyRandom random(0);
  df::Point2 action{};
  int64_t i = 0;
  for (auto _ : state) {
    if (i++ % 30 == 0) action = {random.uniform(-1, 1), random.uniform(-1, 1)};
    benchmark::DoNotOptimize(world.step(action));
  }
  label(state, "steps/s", 1);
}

// Ten steps of 32 worlds a call, as a planner does between two plans.
void batch(benchmark::State& state) {
  df::Maze2dBatch worlds(df::maze2d_layout(mazes[state.range(0)]), 32, state.range(1));
  worlds.reset(0);
  const at::Tensor actions = df::seeded_normal({32, 10, 2}, 0);
  for (auto _ : state) benchmark::DoNotOptimize(worlds.run(actions));
  label(state, "steps/s", 320);
}

void generate(benchmark::State& state) {
  const auto& task = df::maze2d_task(std::string("maze2d-") + mazes[state.range(0)] + "-v1");
  constexpr int64_t rows = 100000;
  for (auto _ : state) benchmark::DoNotOptimize(df::generate_maze2d(task, {.rows = rows}));
  label(state, "rows/s", rows);
}

// Windows of the paper's length, one thread; its data are generated first, into the user's cache.
void window(benchmark::State& state) {
  df::Maze2dDataConfig config;
  config.rows = 100000;
  const auto set = df::make(config, df::Split::train);
  int64_t index = 0;
  for (auto _ : state) benchmark::DoNotOptimize(set->get((index += 977) % set->size()));
  state.counters["windows/s"] = benchmark::Counter(static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

}  // namespace

BENCHMARK(step)->ArgNames({"maze", "fast"})->ArgsProduct({{0, 1, 2}, {0, 1}});
BENCHMARK(batch)->ArgNames({"maze", "threads"})->ArgsProduct({{2}, {1, 2}})->UseRealTime();
BENCHMARK(generate)->ArgName("maze")->Arg(0)->Arg(1)->Arg(2)->Unit(benchmark::kMillisecond);
BENCHMARK(window);
