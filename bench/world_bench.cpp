// SPDX-License-Identifier: MIT
// Frames a second of the embedded world, on one core, and clips a second of its data set and loader.
#include <benchmark/benchmark.h>

#include <vector>

#include "diffusion_forcing/data/loader.hpp"
#include "diffusion_forcing/maze_world/maze_video.hpp"

namespace {

df::MazeWorldConfig world_config(const benchmark::State& state) {
  df::MazeWorldConfig config;
  config.districts = 5;
  config.textured = state.range(1) != 0;
  return config;
}

void render(benchmark::State& state) {
  const int64_t size = state.range(0);
  const df::MazeWorld world(world_config(state), 1);
  std::vector<df::Pose> poses;
  std::vector<df::MazeAction> actions;
  world.walk(1, 1000, poses, actions);
  std::vector<float> picture(static_cast<size_t>(3 * size * size));
  size_t frame = 0;
  for (auto _ : state) {
    world.render(poses[frame++ % poses.size()], size, size, picture.data());
    benchmark::DoNotOptimize(picture.data());
  }
  state.counters["frames/s"] = benchmark::Counter(static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

// World, walk and pictures of a training clip of 36 frames.
void clip(benchmark::State& state) {
  df::MazeVideoConfig config;
  config.height = config.width = state.range(0);
  config.world = world_config(state);
  const auto data = df::make(config, df::Split::train);
  int64_t index = 0;
  for (auto _ : state) benchmark::DoNotOptimize(data->get(index++ % data->size()));
  state.counters["frames/s"] = benchmark::Counter(static_cast<double>(state.iterations() * config.frames), benchmark::Counter::kIsRate);
}

void loader(benchmark::State& state) {
  df::MazeVideoConfig config;
  config.height = config.width = 32;
  const df::LoaderConfig loading{.batch = 8, .workers = state.range(0), .prefetch = 4};
  df::Loader batches(df::make(config, df::Split::train), loading, 1);
  for (auto _ : state) benchmark::DoNotOptimize(batches.next());
  state.counters["frames/s"] =
      benchmark::Counter(static_cast<double>(state.iterations() * loading.batch * config.frames), benchmark::Counter::kIsRate);
}

}  // namespace

BENCHMARK(render)->ArgNames({"size", "textured"})->ArgsProduct({{32, 64, 128}, {0, 1}});
BENCHMARK(clip)->ArgNames({"size", "textured"})->ArgsProduct({{32, 64}, {1}});
BENCHMARK(loader)->ArgName("workers")->Arg(0)->Arg(1)->Arg(2)->UseRealTime();
