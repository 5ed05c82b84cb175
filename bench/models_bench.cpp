// SPDX-License-Identifier: MIT
// Calls and training steps of two U-Nets on one thread: the authors' network at 32 x 32 and the small patched one.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>
#include <torch/autograd.h>

#include "diffusion_forcing/config/roles.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/models/unet_gru.hpp"
#include "quick_network.hpp"

namespace {

struct Network {
  df::UnetGruConfig config;
  double flop;  // of one call for one token: twice the multiply-adds of convolutions and matrix products
};

Network authors() {
  df::UnetGruConfig config;
  config.width = 16;
  return {config, 0.349e9};
}

Network patched() { return {df::bench::quick_network(), 0.027e9}; }

struct Inputs {
  df::Tensor x, k, z;
};
Inputs inputs(const df::CausalModel& model, int64_t batch, int64_t tokens) {
  return {df::seeded_normal(df::shape({batch, tokens}, model.token_shape()), 1),
          at::randint(0, 1001, {batch, tokens}, df::make_generator(2), at::TensorOptions(at::kLong)),
          df::seeded_normal(df::shape({batch}, model.latent_shape()), 3)};
}

void rate(benchmark::State& state, double flop) {
  state.counters["GFLOP/s"] = benchmark::Counter(flop * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

void call(benchmark::State& state, Network (*make)()) {
  const at::NoGradGuard no_grad;
  const Network network = make();
  const auto model = df::make_model(network.config, {{12, 32, 32}, 0, {}, 4}, 0);
  const Inputs in = inputs(*model, state.range(0), 1);
  const auto x = in.x.select(1, 0), k = in.k.select(1, 0);
  for (auto _ : state) benchmark::DoNotOptimize(model->step(x, k, {}, in.z).prediction.data_ptr());
  rate(state, network.flop * static_cast<double>(state.range(0)));
}

// Forward and backward of four tokens; a backward counts twice a forward.
void train(benchmark::State& state, Network (*make)(), bool loop) {
  constexpr int64_t tokens = 4;
  const Network network = make();
  const auto model = df::make_model(network.config, {{12, 32, 32}, 0, {}, 4}, 0);
  const Inputs in = inputs(*model, state.range(0), tokens);
  for (auto _ : state) {
    const auto out = loop ? model->df::CausalModel::unroll(in.x, in.k, {}, in.z) : model->unroll(in.x, in.k, {}, in.z);
    torch::autograd::backward({out.prediction.square().mean()}, {});
    model->zero_grad();
  }
  rate(state, 3 * network.flop * static_cast<double>(tokens * state.range(0)));
}

}  // namespace

BENCHMARK_CAPTURE(call, authors, authors)->Arg(1)->Arg(4)->Arg(8)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(call, patched, patched)->Arg(1)->Arg(4)->Arg(8)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(train, authors, authors, false)->Arg(1)->Arg(4)->Arg(8)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(train, patched, patched, false)->Arg(1)->Arg(4)->Arg(8)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(train, patched_step_by_step, patched, true)->Arg(4)->Unit(benchmark::kMillisecond);

int main(int argc, char** argv) {
  at::set_num_threads(1);
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
