// SPDX-License-Identifier: MIT
// What a device makes of the U-Nets: seconds of a denoise call, of a training step and of a rollout, beside the least that its
// arithmetic allows, and how far bfloat16 is from float32. One JSON object a line.
//   bench_device [device] [seconds per measurement] ["denoise training fp32 rollout", or some of these words]
// With the name of a network, `dmlab_20m` or `video_10m`, that one alone. Further words: `diffuser` takes training steps of 256 windows of
// maze2d-medium and denoises as many as the planner does; `long` rolls 1000 frames out, autoregressively as well; `curve` trains 500 steps
// in both precisions; `memory` takes steps of 36 tokens x 32 with and without recomputation.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "../apps/bench_measure.hpp"
#include "core/autocast.hpp"
#include "diffusion_forcing/config/roles.hpp"
#include "diffusion_forcing/core/accelerator.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/data/loader.hpp"
#include "diffusion_forcing/diffusion/loss.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/models/temporal_unet.hpp"
#include "diffusion_forcing/models/unet_gru.hpp"
#include "diffusion_forcing/sampling/rollout.hpp"
#include "diffusion_forcing/training/trainer.hpp"
#include "guarded_main.hpp"
#include "noise_data.hpp"

namespace df {
namespace {

struct Network {
  const char* name;
  ModelConfig model;
  TokenSpec token;
  Space output;
  double gflop;  // of one cell, forward
};

std::vector<Network> networks() {
  UnetGruConfig video;
  video.width = 64;
  video.latent = 32;
  video.multipliers = {1, 2, 4};
  video.attention = {Attention::none, Attention::full, Attention::full};
  video.patch = 2;
  return {{"dmlab_20m", UnetGruConfig{}, {{12, 64, 64}, 0, {}, 4}, Space::v, 8.98},
          {"video_10m", video, {{12, 64, 64}, 0, {}, 4}, Space::x0, 3.48}};
}

Network diffuser() { return {"diffuser", TemporalUnetConfig{}, {{256, 6}, 8, {}, 256}, Space::x0, 0.514}; }

double distance(const Tensor& a, const Tensor& b) {
  const auto x = a.detach().to(at::kDouble), y = b.detach().to(at::kDouble);
  return ((x - y).norm() / y.norm()).item<double>();
}

void denoise_calls(const Accelerator& on, const Network& network, double seconds) {
  const at::NoGradGuard no_grad;
  const auto stream = on.use_stream();
  const auto model = make_model(network.model, network.token, 1);
  model->to(on.device());
  for (const int64_t batch : {1, 16, 100}) {
    auto generator = on.make_generator(7);
    const auto options = at::TensorOptions(at::kFloat).device(on.device());
    const auto x = at::randn(shape({batch}, model->token_shape()), generator, options),
               z = at::randn(shape({batch}, model->latent_shape()), generator, options);
    const auto k = at::randint(1, 1000, {batch}, generator, options.dtype(at::kLong));
    const auto c = model->condition_dim() > 0 ? at::randn({batch, model->condition_dim()}, generator, options) : Tensor();
    const auto exact = model->step(x, k, c, z);
    TokenOutput output;
    const Autocast autocast(on.device().type(), true, true);
    const auto graph = on.capture([&] { output = model->step(x, k, c, z); });
    const double time = bench::measure(on, seconds, 5, [&] { graph ? graph->replay() : void(output = model->step(x, k, c, z)); }).median;
    fmt::print(
        "{{\"work\": \"denoise call\", \"network\": \"{}\", \"batch\": {}, \"ms\": {:.3f}, \"tflops\": {:.1f}, \"bf16_against_fp32\": "
        "{:.2e}, "
        "\"z_bf16_against_fp32\": {:.2e}}}\n",
        network.name, batch, time * 1e3, network.gflop * static_cast<double>(batch) / time * 1e-3,
        distance(output.prediction, exact.prediction), distance(output.z, exact.z));
    std::fflush(stdout);
  }
}

struct Training {
  std::shared_ptr<CausalModel> model;
  std::shared_ptr<Diffusion> diffusion;
  std::unique_ptr<Loader> loader;
  std::unique_ptr<Trainer> trainer;
};

// What differs between trainings.
struct Setting {
  Precision precision = Precision::bf16;
  int64_t tokens = 9, batch = 32, steps = 60;
  bool recompute = false;
};

Training make_training(const Accelerator& on, const Network& network, const Setting& setting) {
  Training t;
  t.model = make_model(network.model, network.token, 1);
  t.model->set_recompute(setting.recompute);
  t.model->to(on.device());
  DiffusionConfig diffusion;
  diffusion.output = network.output;
  t.diffusion = std::make_shared<Diffusion>(make_diffusion(diffusion).to(on.device()));
  t.loader = std::make_unique<Loader>(std::make_shared<bench::NoiseData>(network.token, setting.tokens),
                                      LoaderConfig{setting.batch, 4, 4, on.device().is_cuda()}, 5);
  TrainerConfig config;
  config.batch = setting.batch;
  config.precision = setting.precision;
  config.optimizer.warmup = 10;
  config.steps = setting.steps;
  config.log_every = setting.steps / 4;
  config.validate_every = 0;
  config.checkpoint_every = 0;
  Objective objective;
  objective.draw = [d = t.diffusion](const Batch& b, at::Generator g) {
    auto draw = draw_noise(TrainingNoise::independent, d->config.levels, b.x, 0, g);
    return std::vector<Tensor>{draw.k, draw.eps};
  };
  objective.loss = [m = t.model, d = t.diffusion, f = network.token.frame_stack](const Batch& b, const std::vector<Tensor>& draws) {
    return training_loss(*m, *d, TrainingNoise::independent, f, {b.x, b.c, {}, m->initial_latent(b.x.size(0), {})}, {draws[0], draws[1]});
  };
  NamedTensors parameters = named_tensors(*t.model);
  t.trainer = std::make_unique<Trainer>(config, parameters, objective, *t.loader, 11, on.device());
  return t;
}

// Seconds of a step and the mean losses of each quarter.
struct Run {
  double step = 0.0;
  std::vector<double> losses;
};
Run train(const Accelerator& on, const Network& network, const Setting& setting) {
  const auto training = make_training(on, network, setting);
  Run run;
  std::vector<double> reports;
  TrainerHooks hooks;
  hooks.on_report = [&](const StepReport& report) {
    run.losses.push_back(report.loss);
    reports.push_back(bench::now());
  };
  const auto folder = std::filesystem::temp_directory_path() / "bench_device_run";
  training.trainer->run(folder, hooks);
  std::filesystem::remove_all(folder);
  run.step =
      std::min(reports[2] - reports[1], reports[3] - reports[2]) * 4 / static_cast<double>(setting.steps);  // the first quarter warms up
  return run;
}

void training_step(const Accelerator& on, const Network& network, const Setting& setting) {
  const Run run = train(on, network, setting);
  fmt::print(
      "{{\"work\": \"training step, {} tokens x {}\", \"network\": \"{}\", \"precision\": \"{}\", \"recompute\": {}, \"ms\": {:.2f}, "
      "\"steps_a_second\": {:.1f}, \"tflops\": {:.1f}, \"peak_gib\": {:.1f}, \"steps\": {}, \"losses\": [{:.5f}]}}\n",
      setting.tokens, setting.batch, network.name, enum_name(setting.precision), setting.recompute, run.step * 1e3, 1 / run.step,
      3 * network.gflop * static_cast<double>(setting.tokens * setting.batch) / run.step * 1e-3,
      static_cast<double>(on.peak_memory_bytes()) / (1 << 30), setting.steps, fmt::join(run.losses, ", "));
  std::fflush(stdout);
}

void rollouts(const Accelerator& on, const Network& network, bool whole) {
  const at::NoGradGuard no_grad;
  const auto stream = on.use_stream();
  const auto model = make_model(network.model, network.token, 1);
  model->to(on.device());
  DiffusionConfig config;
  config.output = network.output;
  const auto diffusion = make_diffusion(config).to(on.device());
  const Autocast autocast(on.device().type(), true, true);
  struct Case {
    const char* schedule;
    int64_t tokens, steps, batch;
  };
  // The first of each width also pays for cuDNN's measurements.
  std::vector<Case> cases{{"pyramid", 250, 100, 1}, {"pyramid", 250, 100, 1}};
  if (whole)
    cases.insert(
        cases.end(),
        {{"autoregressive", 250, 100, 1}, {"autoregressive", 2, 10, 8}, {"autoregressive", 250, 25, 8}, {"autoregressive", 250, 10, 8}});
  else
    cases.insert(cases.end(), {{"autoregressive", 25, 100, 1}, {"autoregressive", 25, 10, 8}});
  for (const Case& c : cases) {
    RolloutConfig rollout_config;
    rollout_config.schedule = c.schedule;
    rollout_config.steps = c.steps;
    RolloutInput input;
    input.tokens = c.tokens;
    input.z = model->initial_latent(c.batch, {});
    input.seed = 3;
    Tensor last;
    const double start = bench::now();
    const auto stats = rollout(*model, diffusion, rollout_config, input, [&](int64_t, const Tensor& x) { last = x; });
    on.synchronize();
    const double time = bench::now() - start;
    fmt::print(
        "{{\"work\": \"rollout\", \"network\": \"{}\", \"schedule\": \"{}\", \"tokens\": {}, \"steps\": {}, \"batch\": {}, \"seconds\": "
        "{:.3f}, "
        "\"model_calls\": {}, \"cells\": {}, \"ms_a_call\": {:.3f}}}\n",
        network.name, c.schedule, c.tokens, c.steps, c.batch, time, stats.steps, stats.cells,
        time * 1e3 / static_cast<double>(stats.steps));
    std::fflush(stdout);
  }
}

int run(int argc, char** argv) {
  const auto& on = accelerator(argc > 1 ? argv[1] : "auto");
  const double seconds = argc > 2 ? std::atof(argv[2]) : 1.0;
  const std::string only = argc > 3 ? argv[3] : "denoise training fp32 rollout";
  const auto wanted = [&](const char* work) { return only.find(work) != std::string::npos; };
  fmt::print("{{\"device\": \"{}\"}}\n", on.description());
  const bool named = wanted("dmlab_20m") || wanted("video_10m");
  for (const Network& network : networks()) {
    if (named && !wanted(network.name)) continue;
    if (wanted("denoise")) denoise_calls(on, network, seconds);
    const auto precisions = [&](const char* both) {
      return wanted(both) ? std::vector{Precision::bf16, Precision::fp32} : std::vector{Precision::bf16};
    };
    if (wanted("training"))
      for (const auto precision : precisions("fp32")) training_step(on, network, {.precision = precision});
    if (wanted("curve"))
      for (const auto precision : precisions("curve")) training_step(on, network, {.precision = precision, .steps = 500});
    if (wanted("rollout") || wanted("long")) rollouts(on, network, wanted("long"));
  }
  if (wanted("diffuser")) {
    denoise_calls(on, diffuser(), seconds);
    for (const auto precision : {Precision::bf16, Precision::fp32})
      training_step(on, diffuser(), {.precision = precision, .tokens = 1, .batch = 256, .steps = 400});
  }
  if (wanted("memory"))  // the peak is that of the process so far
    for (const bool recompute : {true, false}) training_step(on, networks()[0], {.tokens = 36, .steps = 12, .recompute = recompute});
  return 0;
}

}  // namespace
}  // namespace df

int main(int argc, char** argv) { return df::bench::guarded_main("bench_device", df::run, argc, argv); }
