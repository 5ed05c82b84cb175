// SPDX-License-Identifier: MIT
// Steps of training and of sampling that a device replays from a recording do what the same steps do when run one operator at a time.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/autograd.h>

#include <cmath>

#include "cuda/on_device.hpp"
#include "diffusion_forcing/config/roles.hpp"
#include "diffusion_forcing/core/accelerator.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/data/loader.hpp"
#include "diffusion_forcing/diffusion/loss.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/models/temporal_unet.hpp"
#include "diffusion_forcing/models/unet_gru.hpp"
#include "diffusion_forcing/sampling/rollout.hpp"
#include "diffusion_forcing/training/ema.hpp"
#include "diffusion_forcing/training/trainer.hpp"
#include "support/support.hpp"
#include "training/step_recorder.hpp"

namespace df::test {
namespace {

Batch batch_of(uint64_t seed) {
  Batch batch;
  batch.x = seeded_normal({16, 8}, seed);
  return batch;
}

// A weight that learns to undo noise, with the optimiser and the average of the trainer.
struct Learner {
  explicit Learner(at::Device device)
      : weight(at::eye(8, at::TensorOptions(device)).requires_grad_()),
        optimizer({.learning_rate = 1e-2}, {{"weight", weight}}),
        ema(0.9, {{"weight", weight}}) {}
  void step(const Batch& batch, const at::Generator& generator) {
    const auto eps = at::randn(batch.x.sizes(), generator, batch.x.options());
    Tensor loss;
    {
      const at::AutoGradMode record(true);
      loss = ((batch.x + 0.5 * eps).mm(weight) - batch.x).square().mean();
      std::vector<Tensor> gradients = torch::autograd::grad({loss}, {weight});
      norm = optimizer.step(gradients);
    }
    ema.update();
  }
  void prepare(int64_t n) {
    optimizer.set_rate(1e-2 / static_cast<double>(n + 1));
    ema.set_step(n);
  }
  Tensor weight, norm;
  AdamW optimizer;
  Ema ema;
};

TEST(RecordedStep, OfTrainingEqualsTheEagerOne) {
  const auto* cuda = cuda_or_null();
  if (!cuda) GTEST_SKIP() << "no CUDA device";
  const auto stream = cuda->use_stream();
  Learner eager(cuda->device()), recorded(cuda->device());
  StepRecorder recorder(*cuda, [&](const Batch& batch, const at::Generator& generator) { recorded.step(batch, generator); });
  for (int64_t n = 0; n < 10; ++n) {
    eager.prepare(n);
    recorded.prepare(n);
    const uint64_t seed = derive_seed(3, Stream::levels, static_cast<uint64_t>(n));
    eager.step(batch_of(seed).to(cuda->device()), cuda->make_generator(seed));
    recorder.run(batch_of(seed), seed);
    EXPECT_TRUE(close(recorded.weight.detach(), eager.weight.detach(), 1e-6)) << "step " << n;
    EXPECT_TRUE(close(recorded.ema.shadow()[0].second, eager.ema.shadow()[0].second, 1e-6)) << "step " << n;
    EXPECT_TRUE(close(recorded.norm, eager.norm, 1e-5)) << "step " << n;
  }
  EXPECT_TRUE(recorder.recorded()) << recorder.refusal();
}

TEST(RecordedStep, ThatCannotBeRecordedRunsAllTheSame) {
  const auto* cuda = cuda_or_null();
  if (!cuda) GTEST_SKIP() << "no CUDA device";
  int runs = 0;
  Tensor sum;
  StepRecorder recorder(*cuda, [&](const Batch& batch, const at::Generator& generator) {
    ++runs;
    sum = batch.x.sum() + at::randn({}, generator, batch.x.options());
    sum.item<float>();  // waits for the device, which a recording cannot
  });
  for (int n = 0; n < 6; ++n) recorder.run(batch_of(static_cast<uint64_t>(n)), 1);
  EXPECT_FALSE(recorder.recorded());
  EXPECT_FALSE(recorder.refusal().empty());
  EXPECT_EQ(runs, 7);  // six steps and the attempt
  EXPECT_TRUE(std::isfinite(sum.item<float>()));
}

TEST(RecordedStep, OnTheCpuIsTheStepItself) {
  int runs = 0;
  StepRecorder recorder(accelerator("cpu"), [&](const Batch& batch, const at::Generator&) { runs += batch.x.is_cpu(); });
  for (int n = 0; n < 5; ++n) recorder.run(batch_of(1), 1);
  EXPECT_EQ(runs, 5);
  EXPECT_FALSE(recorder.recorded());
}

// Full float32: the rollout of an untrained network multiplies a difference by about 400, so TF32's would be 10 %.
class FullPrecision {
 public:
  FullPrecision() { allow(false); }
  ~FullPrecision() { allow(true); }

 private:
  static void allow(bool tf32) {
    at::globalContext().setAllowTF32CuBLAS(tf32);
    at::globalContext().setAllowTF32CuDNN(tf32);
  }
};

// All tokens of a rollout of an untrained network on the device.
Tensor rolled_out(const ModelConfig& network, const TokenSpec& spec, const RolloutConfig& config, int64_t length, at::Device device) {
  const at::NoGradGuard no_grad;
  const auto model = make_model(network, spec, 5);
  model->to(device);
  DiffusionConfig diffusion_config;
  diffusion_config.output = Space::x0;
  const auto diffusion = make_diffusion(diffusion_config).to(device);
  RolloutInput input;
  input.tokens = length;
  input.z = model->initial_latent(2, {});
  if (spec.condition_dim > 0) input.c = seeded_normal({2, length, spec.condition_dim}, 4).clamp(-1, 1).to(device);
  std::vector<Tensor> tokens;
  rollout(*model, diffusion, config, input, [&](int64_t, const Tensor& x) { tokens.push_back(x.cpu().clone()); });
  return at::stack(tokens);
}

// The recorded plan on the device against the plain executor on the CPU: the same weights, noise and schedule.
TEST(RecordedStep, OfAPlanGivesTheSampleOfTheCpu) {
  const auto* cuda = cuda_or_null();
  if (!cuda) GTEST_SKIP() << "no CUDA device";
  const FullPrecision exact;
  UnetGruConfig network;
  network.width = 16;
  network.multipliers = {1, 2};
  network.attention = {Attention::linear, Attention::full};
  const TokenSpec spec{{4, 16, 16}, 0, {}, 1};
  RolloutConfig config;
  config.steps = 12;
  for (const char* schedule : {"pyramid", "autoregressive", "full_sequence"}) {
    config.schedule = schedule;
    EXPECT_TRUE(close(rolled_out(network, spec, config, 20, cuda->device()), rolled_out(network, spec, config, 20, at::kCPU), 1e-2))
        << schedule;
  }
}

TemporalUnetConfig small_diffuser() {
  TemporalUnetConfig config;
  config.dim = 16;
  config.multipliers = {1, 2};
  return config;
}
const TokenSpec trajectory{{32, 6}, 8, {}, 32};

// Trajectories as tokens, with conditions in device memory and clamped predictions; without and with noise in every step.
TEST(RecordedStep, OfTrajectoriesGivesTheSampleOfTheCpu) {
  const auto* cuda = cuda_or_null();
  if (!cuda) GTEST_SKIP() << "no CUDA device";
  const FullPrecision exact;
  RolloutConfig config;
  config.schedule = "full_sequence";
  config.steps = 12;
  config.horizon = 1;
  config.sampler.clip_x0 = 1.0;
  for (const Solver solver : {Solver::ddim, Solver::ddpm}) {
    config.sampler.solver = solver;
    const Tensor expected = rolled_out(small_diffuser(), trajectory, config, 3, at::kCPU);
    EXPECT_TRUE(close(rolled_out(small_diffuser(), trajectory, config, 3, cuda->device()), expected, 1e-2)) << enum_name(solver);
  }
}

TEST(RecordedStep, OfATrajectoryLossIsRecorded) {
  const auto* cuda = cuda_or_null();
  if (!cuda) GTEST_SKIP() << "no CUDA device";
  const auto stream = cuda->use_stream();
  const auto model = make_model(small_diffuser(), trajectory, 5);
  model->to(cuda->device());
  DiffusionConfig config;
  config.output = Space::x0;
  config.loss = Space::x0;
  config.weight = LossWeight::uniform;
  const auto diffusion = make_diffusion(config).to(cuda->device());
  Tensor loss;
  StepRecorder recorder(*cuda, [&](const Batch& batch, const at::Generator& generator) {
    const at::AutoGradMode record(true);
    const auto draw = draw_noise(TrainingNoise::independent, config.levels, batch.x, 0, generator);
    loss = diffusion_forcing_loss(*model, diffusion, TrainingNoise::independent, 32, {batch.x, batch.c, {}, model->initial_latent(4, {})},
                                  draw)
               .loss;
    torch::autograd::grad({loss}, model->parameters());
  });
  std::vector<double> losses;
  for (int n = 0; n < 8; ++n) {
    Batch batch;
    batch.x = seeded_normal({4, 1, 32, 6}, 1);
    batch.c = seeded_normal({4, 1, 8}, static_cast<uint64_t>(n % 2));
    recorder.run(batch, 1);
    losses.push_back(loss.item<double>());
  }
  EXPECT_TRUE(recorder.recorded()) << recorder.refusal();
  for (size_t n = 2; n < losses.size(); ++n) EXPECT_NEAR(losses[n], losses[n % 2], 1e-2 * losses[n % 2]) << "step " << n;
  EXPECT_NE(losses[0], losses[1]) << "the condition was not seen";
}

}  // namespace
}  // namespace df::test
