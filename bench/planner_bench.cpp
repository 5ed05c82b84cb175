// SPDX-License-Identifier: MIT
// What a plan costs: a guided row (all tokens, forward and backward to the tokens) and whole plans of a pyramid, with and without guidance,
// through the planner that the episodes use, beside the floor: the products of its cells at the rate of the device's best product. One JSON
// object a line. The first plan records what later ones replay.
//   bench_planner [device] [seconds per measurement] [worlds] [tokens] [steps S]
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "../apps/bench_measure.hpp"
#include "diffusion_forcing/config/roles.hpp"
#include "diffusion_forcing/core/accelerator.hpp"
#include "diffusion_forcing/maze2d/forcing_planner.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/models/latent_init.hpp"
#include "diffusion_forcing/models/mlp_gru.hpp"
#include "diffusion_forcing/sampling/plan.hpp"
#include "guarded_main.hpp"

namespace df {
namespace {

struct Sizes {
  int64_t worlds, tokens, steps;
};

// The network and the tokens of the maze2d experiments.
struct Subject {
  Subject(const Accelerator& on, int64_t width)
      : diffusion(make_diffusion({.schedule = ScheduleKind::linear, .output = Space::x0}).to(on.device())) {
    spec.token = {{60}, 0, {4}, 10};
    spec.mean = 0;
    spec.std = 1;
    spec.frame_mean = std::vector<double>(6, 0.0);
    spec.frame_std = std::vector<double>(6, 1.0);
    MlpGruConfig network;
    network.width = width;
    network.latent_init = LatentInit::encoded;
    model = make_model(network, spec.token, 1);
    model->to(on.device());
    model->eval();
    for (Tensor parameter : model->parameters()) parameter.requires_grad_(false);
    for (const auto& item : model->named_parameters())
      if (item.value().dim() == 2 && item.key().rfind("init_encoder", 0) != 0) weights += item.value().numel();
  }
  DataSpec spec;
  std::shared_ptr<CausalModel> model;
  Diffusion diffusion;
  int64_t weights = 0;  // of the products of a cell
};

struct Work {
  const char* name;
  MatrixKind schedule;
  int64_t steps;
  double scale;
};

void report(const Accelerator& on, const Subject& subject, int64_t width, const Work& work, const Sizes& sizes, double rate,
            double seconds) {
  RolloutConfig sampling;
  sampling.schedule = enum_name(work.schedule);
  sampling.steps = work.steps;
  ForcingPlannerConfig config;
  config.guidance.scale = work.scale;
  const auto planner = make_forcing_planner(config, {*subject.model, subject.diffusion, subject.spec, sampling});
  Situation situation;
  situation.now.state = at::zeros({sizes.worlds, 4}, at::kDouble);
  situation.now.goal = at::ones({sizes.worlds, 2}, at::kDouble);
  situation.steps_left = 10 * sizes.tokens;
  planner->start(sizes.worlds, 0, 0);
  const double begin = bench::now();
  planner->act(situation);
  const double first = bench::now() - begin;
  const auto time = bench::measure(on, seconds, 3, [&] { planner->act(situation); });

  const auto matrix = make_matrix(work.schedule, sizes.tokens, ladder(subject.diffusion.config.levels, work.steps), sampling.slope);
  PlanPolicy policy = sampling.policy;
  policy.row_order = work.scale > 0;
  const int64_t cells = compile(matrix, policy).cells();
  // A product forward, and with guidance one backward to the tokens; two operations a weight.
  const double flop = (work.scale > 0 ? 4.0 : 2.0) * static_cast<double>(subject.weights * cells * sizes.worlds);
  fmt::print(
      "{{\"work\": \"{}\", \"width\": {}, \"worlds\": {}, \"tokens\": {}, \"steps\": {}, \"cells\": {}, \"ms\": {:.2f}, \"best_ms\": "
      "{:.2f}, "
      "\"first_ms\": {:.1f}, \"floor_ms\": {:.3f}, \"gflop\": {:.2f}}}\n",
      work.name, width, sizes.worlds, sizes.tokens, work.steps, cells, time.median * 1e3, time.best * 1e3, first * 1e3, flop / rate * 1e3,
      flop * 1e-9);
  std::fflush(stdout);
}

int run(int argc, char** argv) {
  const auto& on = accelerator(argc > 1 ? argv[1] : "auto");
  const auto argument = [&](int i, int64_t otherwise) { return argc > i ? std::atoll(argv[i]) : otherwise; };
  const bool cpu = on.device().is_cpu();
  const double seconds = argc > 2 ? std::atof(argv[2]) : 2.0;
  const Sizes sizes{argument(3, cpu ? 4 : 32), argument(4, cpu ? 15 : 60), argument(5, cpu ? 10 : 50)};
  const auto rate = bench::matmul_rate(on, at::kFloat, 1.0);
  fmt::print("{{\"device\": \"{}\", \"product_tflops\": {:.2f}, \"product\": \"{}\"}}\n", on.description(), rate.flops * 1e-12, rate.how);
  for (const int64_t width : {16, 32}) {
    const Subject subject(on, width);
    for (const Work& work :
         {Work{"guided row", MatrixKind::full_sequence, 1, 1.0}, Work{"guided plan", MatrixKind::pyramid, sizes.steps, 1.0},
          Work{"unguided plan", MatrixKind::pyramid, sizes.steps, 0.0}})
      report(on, subject, width, work, sizes, rate.flops, seconds);
  }
  return 0;
}

}  // namespace
}  // namespace df

int main(int argc, char** argv) { return df::bench::guarded_main("bench_planner", df::run, argc, argv); }
