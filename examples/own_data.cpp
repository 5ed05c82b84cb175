// SPDX-License-Identifier: MIT
// Training on data and with a model that the library does not know: sine waves of two frequencies, and a small recurrent cell.
// Trains for 150 steps, resumes for 150 more, loads the averaged weights, samples eight waves and prints the frequency of each: about half
// of them should have 2 and the others 5 periods.
//   example_own_data [RUN FOLDER]
#include <ATen/ATen.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/rnn.h>

#include <cmath>
#include <cstdio>
#include <diffusion_forcing/diffusion_forcing.hpp>

namespace {

constexpr int64_t tokens = 16, samples_a_token = 4;  // a wave is 64 samples, a token four of them

// Wave `index` has 2 or 5 periods and starts anywhere.
class Waves : public df::Dataset {
 public:
  explicit Waves(uint64_t seed) : seed_(seed) {}
  df::DataSpec spec() const override { return {{{samples_a_token}, 0, {}, samples_a_token}, tokens, 0.0, 1.0}; }
  int64_t size() const override { return 1000; }
  df::Batch get(int64_t index, int64_t length) const override {
    const int64_t T = length > 0 ? length : tokens;
    const double start = static_cast<double>(df::derive_seed(seed_, {static_cast<uint64_t>(index)}) % 6283) / 1000.0;
    const double step = 2.0 * M_PI * (index % 2 == 0 ? 2 : 5) / (tokens * samples_a_token);
    return {at::arange(T * samples_a_token, at::kFloat).mul(step).add(start).sin().view({T, samples_a_token})};
  }
  std::string describe() const override { return "sine waves of 2 or 5 periods"; }

 private:
  uint64_t seed_;
};

// z follows from the token, its noise level and the z before; the prediction is read from z.
class WaveCell : public df::CausalModel {
 public:
  explicit WaveCell(int64_t levels) : levels_(static_cast<double>(levels)) {
    at::manual_seed(0);  // of the weights
    cell_ = register_module("cell", torch::nn::GRUCell(samples_a_token + 1, width));
    hidden_ = register_module("hidden", torch::nn::Linear(width + samples_a_token + 1, width));
    out_ = register_module("out", torch::nn::Linear(width, samples_a_token));
  }
  df::TokenOutput step(const at::Tensor& x, const at::Tensor& k, const at::Tensor&, const at::Tensor& z) override {
    const at::Tensor input = at::cat({x, k.to(at::kFloat).div(levels_).unsqueeze(1)}, 1);
    const at::Tensor next = cell_(input, z);
    return {out_(at::silu(hidden_(at::cat({next, input}, 1)))), next};
  }
  at::Tensor initial_latent(int64_t batch, const at::Tensor&) override { return at::zeros({batch, width}, at::device(device())); }
  df::Shape token_shape() const override { return {samples_a_token}; }
  df::Shape latent_shape() const override { return {width}; }
  int64_t condition_dim() const override { return 0; }

 private:
  static constexpr int64_t width = 96;
  double levels_;
  torch::nn::GRUCell cell_ = nullptr;
  torch::nn::Linear hidden_ = nullptr, out_ = nullptr;
};

df::Parts make_parts() {
  df::Parts parts;
  parts.train = std::make_shared<Waves>(/*seed=*/1);
  parts.validation = std::make_shared<Waves>(/*seed=*/2);
  parts.diffusion = df::make_diffusion({.levels = 100, .output = df::Space::x0});
  parts.model = std::make_shared<WaveCell>(/*levels=*/100);
  parts.sampling.schedule = "pyramid";
  parts.sampling.steps = 20;
  parts.name = "waves";
  return parts;
}

// Periods of each wave [B, samples] within its length: the largest entry of its spectrum.
at::Tensor periods_of(const at::Tensor& waves) { return at::fft_rfft(waves).abs().slice(1, 1).argmax(1) + 1; }

}  // namespace

int main(int argc, char** argv) {
  df::Parts parts = make_parts();
  df::TrainingConfig training;
  training.trainer.steps = 150;
  training.trainer.optimizer = {.learning_rate = 4e-3, .warmup = 20};
  training.trainer.ema = 0.98;
  training.trainer.validate_every = 150;
  df::TrainOptions options{.out = argc > 1 ? argv[1] : "runs/waves", .device = "cpu"};
  df::train(parts, training, options);

  parts = make_parts();  // as another process would
  training.trainer.steps = 300;
  options.resume = true;
  const auto run = df::train(parts, training, options);

  df::load_weights(parts, run);  // the averaged ones
  std::printf("validation loss %.3f\n", df::validation_metrics(parts, training).at("val/loss"));
  df::RolloutInput input{.tokens = tokens, .z = parts.model->initial_latent(8, {}), .seed = 3};
  std::vector<at::Tensor> waves;
  df::rollout(*parts.model, parts.diffusion, parts.sampling, input, [&](int64_t, const at::Tensor& x) { waves.push_back(x); });
  const at::Tensor periods = periods_of(at::cat(waves, 1));
  std::printf("periods of eight sampled waves, 2 or 5 in the data:");
  for (int64_t i = 0; i < 8; ++i) std::printf(" %lld", static_cast<long long>(periods[i].item<int64_t>()));
  std::printf("\n");
}
