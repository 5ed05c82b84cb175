// SPDX-License-Identifier: MIT
// What a device makes of the MLP-GRU of the planning experiments: milliseconds of a training step and of a guided row (60 tokens forward
// and backward to the tokens), each recorded as one graph, and how far the precisions are from float64. One JSON object a line.
//   bench_mlp_gru [device] [seconds per measurement] ["guided steps training trainer accuracy profile", or some of these words]
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/autograd.h>

#include <algorithm>
#include <cstdio>
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
#include "diffusion_forcing/models/mlp_gru.hpp"
#include "diffusion_forcing/training/optimizer.hpp"
#include "diffusion_forcing/training/trainer.hpp"
#include "guarded_main.hpp"
#include "kernel_profile.hpp"
#include "noise_data.hpp"
#include "ops/kernels.hpp"
#include "ops/token_layers.hpp"

namespace df {
namespace {

constexpr int64_t tokens = 60;
const TokenSpec token{{60}, 0, {}, 10};

std::shared_ptr<CausalModel> network(const Accelerator& on, int64_t width) {
  MlpGruConfig config;
  config.width = width;
  auto model = make_model(config, token, 1);
  model->to(on.device());
  return model;
}

double distance(const Tensor& a, const Tensor& b) {
  const auto x = a.detach().to(at::kCPU, at::kDouble), y = b.detach().to(at::kCPU, at::kDouble);
  return ((x - y).norm() / y.norm()).item<double>();
}

struct Inputs {
  Tensor x, k, z;
};
Inputs inputs(at::Device device, int64_t batch) {
  Inputs in;
  in.x = seeded_normal(shape({batch, tokens}, token.token_shape), 3).to(device);
  in.k = at::randint(1, 1001, {batch, tokens}, make_generator(4), at::TensorOptions(at::kLong)).to(device);
  in.z = seeded_normal({batch, 128}, 5).to(device) * 0.1;
  return in;
}

// Sum of squares of the predictions, and its gradient with respect to the tokens.
struct Guided {
  Tensor prediction, gradient;
};
Guided guided_row(CausalModel& model, const Inputs& in, bool bf16, bool by_steps) {
  Tensor x = in.x.detach().requires_grad_(true), prediction, total;
  {
    const Autocast autocast(x.device().type(), bf16, true);
    const auto out = by_steps ? model.CausalModel::unroll(x, in.k, {}, in.z) : model.unroll(x, in.k, {}, in.z);
    prediction = out.prediction;
    total = (prediction.scalar_type() == at::kDouble ? prediction : prediction.to(at::kFloat)).square().sum();
  }
  return {prediction.detach(), torch::autograd::grad({total}, {x})[0]};
}

void freeze(CausalModel& model) {
  for (Tensor parameter : model.parameters()) parameter.requires_grad_(false);
}

// How the layers of all tokens run while it lives: in one kernel wherever there is one, or operator after operator.
class TokenKernels {
 public:
  TokenKernels(at::Device device, bool at_once) : at_once_(ops::kernels(device).token_layers), used_(device, tables(device, at_once)) {}

 private:
  class AtOnce final : public ops::TokenLayerKernels {
   public:
    explicit AtOnce(const ops::TokenLayerKernels* own) : own_(own) {}
    bool faster(at::ScalarType type, int64_t) const override { return !own_ || type == at::kBFloat16; }
    void token_layers(const ops::TokenLayers& network) const override {
      own_ ? own_->token_layers(network) : ops::plain::token_layers(network);
    }

   private:
    const ops::TokenLayerKernels* own_;
  };
  ops::Kernels tables(at::Device device, bool at_once) const {
    ops::Kernels all = ops::kernels(device);
    all.token_layers = at_once ? &at_once_ : nullptr;
    return all;
  }
  AtOnce at_once_;
  ops::UseKernels used_;
};

const char* name(bool bf16) { return bf16 ? "bf16" : "fp32"; }

void guided_rows(const Accelerator& on, double seconds, bool with_steps) {
  const auto stream = on.use_stream();
  const auto model = network(on, 32);
  freeze(*model);
  struct Way {
    const char* name;
    bool at_once, by_steps;
  };
  const Way ways[] = {{"operator", false, false}, {"one kernel", true, false}, {"steps", false, true}};
  for (const int64_t batch : {16, 32, 64, 100, 1024})
    for (const bool bf16 : {true, false})
      for (const auto& [way, at_once, by_steps] : ways) {
        if (by_steps && !with_steps) continue;
        if (at_once && (!bf16 || batch > 100)) continue;
        const TokenKernels kernels(on.device(), at_once);
        const Inputs in = inputs(on.device(), batch);
        Guided out;
        const auto row = [&] { out = guided_row(*model, in, bf16, by_steps); };
        const auto graph = on.capture(row);
        const bench::Timing time = bench::measure(on, seconds, 5, [&] { graph ? graph->replay() : row(); });
        const Tensor replayed = out.gradient.clone();
        graph ? graph->replay() : row();
        fmt::print(
            "{{\"work\": \"guided row\", \"batch\": {}, \"precision\": \"{}\", \"unroll\": \"{}\", \"ms\": {:.3f}, \"best_ms\": {:.3f}, "
            "\"repeats\": {}}}\n",
            batch, name(bf16), way, time.median * 1e3, time.best * 1e3, at::equal(replayed, out.gradient));
        std::fflush(stdout);
      }
}

// Against float64 on the CPU.
void accuracy(const Accelerator& on) {
  const auto stream = on.use_stream();
  const auto model = network(on, 32), exact = network(accelerator("cpu"), 32);
  exact->to(at::kDouble);
  const auto parameters = model->parameters(), exact_parameters = exact->parameters();
  Inputs in = inputs(at::kCPU, 32), on_device = inputs(on.device(), 32);
  in.x = in.x.to(at::kDouble), in.z = in.z.to(at::kDouble);
  const auto all_gradients = [&](CausalModel& m, const Inputs& i, bool bf16) {
    Tensor total;
    {
      const Autocast autocast(i.x.device().type(), bf16, true);
      total = (m.unroll(i.x, i.k, {}, i.z).prediction - i.x).square().mean();
    }
    auto all = torch::autograd::grad({total}, m.parameters());
    for (Tensor& gradient : all) gradient = gradient.to(at::kCPU, at::kDouble).flatten();
    return at::cat(all);
  };
  const Guided reference = guided_row(*exact, in, false, false);
  const Tensor reference_weights = all_gradients(*exact, in, false);
  for (const bool bf16 : {false, true})
    for (const bool by_steps : {false, true}) {
      const TokenKernels operators(on.device(), false);
      const Guided out = guided_row(*model, on_device, bf16, by_steps);
      fmt::print(
          "{{\"work\": \"distance to float64\", \"precision\": \"{}\", \"unroll\": \"{}\", \"prediction\": {:.2e}, \"last_token\": {:.2e}, "
          "\"gradient_of_tokens\": {:.2e}, \"gradient_of_weights\": {:.2e}}}\n",
          name(bf16), by_steps ? "steps" : "operator", distance(out.prediction, reference.prediction),
          distance(out.prediction.select(1, tokens - 1), reference.prediction.select(1, tokens - 1)),
          distance(out.gradient, reference.gradient),
          by_steps ? -1.0 : distance(all_gradients(*model, on_device, bf16), reference_weights));
      std::fflush(stdout);
    }
  const TokenKernels at_once(on.device(), true);
  const Guided out = guided_row(*model, on_device, true, false);
  fmt::print(
      "{{\"work\": \"distance to float64\", \"precision\": \"bf16\", \"unroll\": \"one kernel\", \"prediction\": {:.2e}, "
      "\"last_token\": {:.2e}, \"gradient_of_tokens\": {:.2e}, \"gradient_of_weights\": {:.2e}}}\n",
      distance(out.prediction, reference.prediction),
      distance(out.prediction.select(1, tokens - 1), reference.prediction.select(1, tokens - 1)),
      distance(out.gradient, reference.gradient), distance(all_gradients(*model, on_device, true), reference_weights));
  std::fflush(stdout);
}

// Draw, loss, backward pass and optimiser on a batch that lies on the device.
class Step {
 public:
  Step(const Accelerator& on, int64_t width, int64_t batch, bool bf16)
      : model_(network(on, width)), bf16_(bf16), generator_(on.make_generator(7)), x_(inputs(on.device(), batch).x) {
    diffusion_ = std::make_unique<Diffusion>(make_diffusion({}).to(on.device()));
    const auto named = named_tensors(*model_);
    optimizer_ = std::make_unique<AdamW>(OptimizerConfig(), named);
    for (const auto& [key, tensor] : named) parameters_.push_back(tensor);
    optimizer_->set_rate(1e-4);
  }
  void operator()() {
    Tensor loss;
    {
      const Autocast autocast(x_.device().type(), bf16_, true);
      const auto draw = draw_noise(TrainingNoise::independent, diffusion_->config.levels, x_, 0, generator_);
      loss =
          training_loss(*model_, *diffusion_, TrainingNoise::independent, 10, {x_, {}, {}, model_->initial_latent(x_.size(0), {})}, draw);
    }
    std::vector<Tensor> gradients = torch::autograd::grad({loss}, parameters_, {}, false, false, true);
    optimizer_->step(gradients);
    loss_ = loss.detach();
  }
  const at::Generator& generator() const { return generator_; }
  double loss() const { return loss_.item<double>(); }

 private:
  std::shared_ptr<CausalModel> model_;
  bool bf16_;
  at::Generator generator_;
  Tensor x_, loss_;
  std::unique_ptr<Diffusion> diffusion_;
  std::unique_ptr<AdamW> optimizer_;
  std::vector<Tensor> parameters_;
};

double flop(int64_t width, int64_t batch) {  // of a training step: three forward passes
  int64_t weights = 0;
  for (const Tensor& parameter : network(accelerator("cpu"), width)->parameters()) weights += parameter.dim() == 2 ? parameter.numel() : 0;
  return 6.0 * static_cast<double>(weights * batch * tokens);
}

void training_steps(const Accelerator& on, double seconds) {
  const int64_t batch = on.device().is_cpu() ? 64 : 4096;
  for (const int64_t width : {32, 16})
    for (const bool bf16 : {true, false}) {
      const auto stream = on.use_stream();
      Step step(on, width, batch, bf16);
      const auto graph = on.capture([&] { step(); }, {.warm_up = 3, .generators = {step.generator()}});
      const bench::Timing time = bench::measure(on, seconds, 5, [&] { graph ? graph->replay() : step(); });
      fmt::print(
          "{{\"work\": \"training step\", \"width\": {}, \"batch\": {}, \"precision\": \"{}\", \"ms\": {:.2f}, \"best_ms\": {:.2f}, "
          "\"tflops\": {:.1f}, \"loss\": {:.4f}, \"peak_gib\": {:.1f}}}\n",
          width, batch, name(bf16), time.median * 1e3, time.best * 1e3, flop(width, batch) / time.median * 1e-12, step.loss(),
          static_cast<double>(on.peak_memory_bytes()) / (1 << 30));
      std::fflush(stdout);
    }
}

// The same through the trainer: with the loader, the copy to the device, clipping and averages.
void trainer_steps(const Accelerator& on) {
  for (const Precision precision : {Precision::bf16, Precision::fp32}) {
    const auto model = network(on, 32);
    const Diffusion diffusion = make_diffusion({}).to(on.device());
    TrainerConfig config;
    config.batch = on.device().is_cpu() ? 64 : 4096;
    config.precision = precision;
    config.steps = 60;
    config.log_every = 15;
    config.validate_every = config.checkpoint_every = 0;
    Loader loader(std::make_shared<bench::NoiseData>(token, tokens), LoaderConfig{config.batch, 8, 4, on.device().is_cuda()}, 5);
    Objective objective;
    objective.draw = [&](const Batch& b, at::Generator g) {
      auto draw = draw_noise(TrainingNoise::independent, diffusion.config.levels, b.x, 0, g);
      return std::vector<Tensor>{draw.k, draw.eps};
    };
    objective.loss = [&](const Batch& b, const std::vector<Tensor>& d) {
      return training_loss(*model, diffusion, TrainingNoise::independent, 10, {b.x, {}, {}, model->initial_latent(b.x.size(0), {})},
                           {d[0], d[1]});
    };
    Trainer trainer(config, named_tensors(*model), objective, loader, 11, on.device());
    std::vector<double> reports, losses;
    TrainerHooks hooks;
    hooks.on_report = [&](const StepReport& report) {
      reports.push_back(bench::now());
      losses.push_back(report.loss);
    };
    const auto folder = std::filesystem::temp_directory_path() / "bench_mlp_gru_run";
    trainer.run(folder, hooks);
    std::filesystem::remove_all(folder);
    fmt::print(
        "{{\"work\": \"step of the trainer\", \"width\": 32, \"batch\": {}, \"precision\": \"{}\", \"ms\": {:.2f}, \"losses\": "
        "[{:.5f}]}}\n",
        config.batch, name(precision == Precision::bf16), std::min(reports[2] - reports[1], reports[3] - reports[2]) / 15 * 1e3,
        fmt::join(losses, ", "));
    std::fflush(stdout);
  }
}

void profiles(const Accelerator& on, bool training) {
  const auto stream = on.use_stream();
  const auto print = [&](const std::string& work, const std::function<void()>& run) {
    run();
    run();
    const auto kernels = bench::profile(on, run).kernels;
    double total = 0.0;
    int64_t calls = 0;
    for (const auto& kernel : kernels) total += kernel.ms, calls += kernel.calls;
    fmt::print("# {}: {:.3f} ms in {} kernels\n", work, total, calls);
    for (size_t i = 0; i < std::min<size_t>(kernels.size(), 24); ++i)
      fmt::print("# {:9.3f} ms {:6} calls {:8.2f} us  {}\n", kernels[i].ms, kernels[i].calls,
                 kernels[i].ms * 1e3 / static_cast<double>(kernels[i].calls), kernels[i].name.substr(0, 150));
    std::fflush(stdout);
  };
  if (training) {
    Step step(on, 32, 4096, true);
    print("training step, 60 x 4096, bf16", [&] { step(); });
  }
  const auto model = network(on, 32);
  freeze(*model);
  const Inputs in = inputs(on.device(), 32);
  for (const bool bf16 : {true, false}) {
    const TokenKernels operators(on.device(), false);
    print(fmt::format("guided row, 60 x 32, {}", name(bf16)), [&] { guided_row(*model, in, bf16, false); });
  }
  const TokenKernels at_once(on.device(), true);
  print("guided row, 60 x 32, bf16, one kernel", [&] { guided_row(*model, in, true, false); });
}

int run(int argc, char** argv) {
  const auto& on = accelerator(argc > 1 ? argv[1] : "auto");
  const double seconds = argc > 2 ? std::atof(argv[2]) : 1.0;
  const std::string only = argc > 3 ? argv[3] : "accuracy guided steps training trainer profile";
  const auto wanted = [&](const char* work) { return only.find(work) != std::string::npos; };
  fmt::print("{{\"device\": \"{}\"}}\n", on.description());
  if (wanted("accuracy")) accuracy(on);
  if (wanted("guided")) guided_rows(on, seconds, wanted("steps"));
  if (wanted("training")) training_steps(on, seconds);
  if (wanted("trainer")) trainer_steps(on);
  if (wanted("profile")) profiles(on, wanted("training"));
  return 0;
}

}  // namespace
}  // namespace df

int main(int argc, char** argv) { return df::bench::guarded_main("bench_mlp_gru", df::run, argc, argv); }
