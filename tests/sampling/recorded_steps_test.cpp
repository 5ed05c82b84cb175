// SPDX-License-Identifier: MIT
// Recorded steps against the plain executor, on an accelerator that "records" by keeping the work and calling it again.
#include "sampling/recorded_steps.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "diffusion_forcing/config/roles.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/models/mlp_gru.hpp"
#include "diffusion_forcing/sampling/plan.hpp"
#include "diffusion_forcing/sampling/scheduling_matrix.hpp"
#include "sampling/step_executor.hpp"
#include "support/support.hpp"

namespace df::test {
namespace {

class Replayed final : public Graph {
 public:
  Replayed(std::function<void()> work, const bool& fails) : work_(std::move(work)), fails_(fails) {}
  void replay() override {
    work_();
    if (fails_) throw Error("the device is lost");
  }

 private:
  std::function<void()> work_;
  const bool& fails_;
};

class Recorder final : public Accelerator {
 public:
  at::Device device() const override { return at::kCPU; }
  std::string description() const override { return "keeps the work"; }
  at::Generator make_generator(uint64_t seed) const override { return df::make_generator(seed); }
  void synchronize() const override {}
  int64_t peak_memory_bytes() const override { return 0; }
  std::unique_ptr<StreamScope> use_stream() const override { return nullptr; }
  std::unique_ptr<Graph> capture(const std::function<void()>& work, const CaptureOptions& options) const override {
    for (int run = 0; run < options.warm_up; ++run) work();
    ++captures;
    return std::make_unique<Replayed>(work, replays_fail);
  }
  mutable int captures = 0;
  bool replays_fail = false;
};

std::shared_ptr<CausalModel> tiny_model(int64_t condition) {
  MlpGruConfig config;
  config.width = 8;
  config.latent = 6;
  config.mlp_layers = 1;
  return make_model(config, {{5}, condition, {}, 1}, 2);
}

class RecordedPlans : public ::testing::TestWithParam<Solver> {};
INSTANTIATE_TEST_SUITE_P(Solvers, RecordedPlans, ::testing::Values(Solver::ddim, Solver::ddpm),
                         [](const auto& info) { return std::string(enum_name(info.param)); });

TEST_P(RecordedPlans, EqualThePlainExecutor) {
  const at::NoGradGuard no_grad;
  const int64_t tokens = 30, batch = 2, slots = 31;
  for (const auto& [kind, output] : {std::pair{MatrixKind::pyramid, Space::eps},
                                     {MatrixKind::pyramid, Space::x0},
                                     {MatrixKind::autoregressive, Space::v},
                                     {MatrixKind::autoregressive, Space::eps}})
    for (const auto finished : {Finished::last_call, Finished::reencode}) {
      SCOPED_TRACE(fmt::format("{} {} {}", enum_name(kind), enum_name(output), enum_name(finished)));
      DiffusionConfig diffusion_config;
      diffusion_config.output = output;
      diffusion_config.clip_noise = 2.0;
      const auto diffusion = make_diffusion(diffusion_config);
      PlanPolicy policy;
      policy.finished = finished;
      policy.stabilization = 20;
      const auto plan = compile(make_matrix(kind, tokens, ladder(1000, 20), 1.0), policy);
      const auto model = tiny_model(3);
      SamplerConfig config;
      config.solver = GetParam();
      config.clip_x0 = finished == Finished::reencode ? 0.5 : 0.0;
      StepExecutor plain(*model, diffusion, config, batch, slots);
      StepBuffers buffers{at::zeros({batch, slots + 1, 5}), at::zeros({batch, slots + 2, 6}), at::zeros({batch, slots + 1, 3})};
      for (int64_t t = 0; t < tokens; ++t) {
        const auto x = seeded_normal({batch, 5}, static_cast<uint64_t>(t)), c = seeded_normal({batch, 3}, static_cast<uint64_t>(100 + t));
        plain.set_token(t, x);
        plain.set_condition(t, c);
        buffers.x.select(1, t).copy_(x);
        buffers.c.select(1, t).copy_(c);
      }
      const auto z = seeded_normal({batch, 6}, 999);
      plain.start(z);
      buffers.z.select(1, 0).copy_(z);
      const CellNoise noise = GetParam() == Solver::ddpm ? seeded_cell_noise(5, {batch, 5}) : CellNoise();
      const Recorder recorder;
      RecordedSteps recorded(*model, diffusion, config, &recorder);
      for (const auto& step : plan.steps) {
        plain.run(step, noise);
        ASSERT_TRUE(recorded.run(step, buffers, noise));
      }
      for (int64_t t = 0; t < tokens; ++t) {
        EXPECT_TRUE(close(buffers.x.select(1, t), plain.token(t), 1e-5)) << "token " << t;
        EXPECT_TRUE(close(buffers.z.select(1, t + 1), plain.latent(t + 1), 1e-5)) << "latent " << t;
      }
      EXPECT_GE(recorder.captures, 1);
      EXPECT_LE(recorder.captures, 8) << "one recording a width, and few widths";
    }
}

TEST(RecordedSteps, LeaveTokensNoisedAnewAndTheCpuAlone) {
  const at::NoGradGuard no_grad;
  const auto diffusion = make_diffusion({});
  const auto model = tiny_model(0);
  const Recorder recorder;
  const PlanStep step = {{0, 0, 1000, 1000, 500, CellKind::update}};
  const StepBuffers buffers{at::zeros({1, 5, 5}), at::zeros({1, 6, 6}), {}};
  EXPECT_FALSE(RecordedSteps(*model, diffusion, {}, nullptr).run(step, buffers, {}));
  EXPECT_FALSE(RecordedSteps(*model, diffusion, {}, &recorder).run({{0, 0, 500, 500, 500, CellKind::resample}}, buffers, {}));
  EXPECT_EQ(recorder.captures, 0);
  EXPECT_EQ(buffers.x.abs().max().item<float>(), 0.0F);
}

TEST(RecordedSteps, SayThatTheirNoiseIsMissing) {
  const at::NoGradGuard no_grad;
  const auto diffusion = make_diffusion({});
  const auto model = tiny_model(0);
  const Recorder recorder;
  RecordedSteps steps(*model, diffusion, {.solver = Solver::ddim, .eta = 0.5}, &recorder);
  EXPECT_EQ(error_of([&] {
              steps.run({{0, 0, 1000, 1000, 500, CellKind::update}}, {at::zeros({1, 5, 5}), at::zeros({1, 6, 6}), {}}, {});
            }),
            "sampling: this solver or policy draws noise, but SampleInput.noise is empty");
}

// The step must not be run again on buffers that the failed one has written.
TEST(RecordedSteps, ThatFailWhileTheyRunFail) {
  const at::NoGradGuard no_grad;
  const auto diffusion = make_diffusion({});
  const auto model = tiny_model(0);
  Recorder recorder;
  recorder.replays_fail = true;
  RecordedSteps steps(*model, diffusion, {}, &recorder);
  const StepBuffers buffers{at::zeros({1, 5, 5}), at::zeros({1, 6, 6}), {}};
  EXPECT_EQ(error_of([&] { steps.run({{0, 0, 1000, 1000, 500, CellKind::update}}, buffers, {}); }), "the device is lost");
}

}  // namespace
}  // namespace df::test
