// SPDX-License-Identifier: MIT
#include "diffusion_forcing/evaluation/evaluate.hpp"

#include <ATen/ATen.h>

#include <cmath>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/data/video_tokens.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "support/support.hpp"

namespace df::test {

namespace {

constexpr int64_t F = 2, H = 16;

// Clips that stand still, or drift.
class Clips final : public Dataset {
 public:
  explicit Clips(double speed, int64_t count = 12) : speed_(speed), count_(count) {}
  DataSpec spec() const override { return {{{3 * F, H, H}, 0, {}, F}, 6, 0.5, 0.5}; }
  int64_t size() const override { return count_; }
  Batch get(int64_t index, int64_t tokens) const override {
    if (tokens == 0) tokens = spec().tokens;
    const auto still = seeded_normal({1, 3, H, H}, static_cast<uint64_t>(index));
    const auto walk = speed_ * seeded_normal({100, 3, H, H}, 1000 + static_cast<uint64_t>(index)).cumsum(0).slice(0, 0, tokens * F);
    Batch batch;
    batch.x = frames_to_tokens((still + walk).sigmoid(), F, 0.5, 0.5);
    return batch;
  }
  std::string describe() const override { return "clips"; }

 private:
  double speed_;
  int64_t count_;
};

// Predicts that the next token is the last frame it was shown, plus an offset.
class Copier final : public CausalModel {
 public:
  explicit Copier(double offset = 0.0) : offset_(offset) { register_parameter("p", at::zeros({1})); }
  TokenOutput step(const Tensor& x, const Tensor&, const Tensor&, const Tensor& z) override {
    const auto last = z.slice(1, 3 * (F - 1), 3 * F).repeat({1, F, 1, 1});
    return {last + offset_, x};
  }
  Tensor initial_latent(int64_t batch, const Tensor&) override { return at::zeros({batch, 3 * F, H, H}); }
  Shape token_shape() const override { return {3 * F, H, H}; }
  Shape latent_shape() const override { return {3 * F, H, H}; }
  int64_t condition_dim() const override { return 0; }

 private:
  double offset_;
};

EvaluationConfig small() {
  EvaluationConfig config;
  config.sequences = 3;
  config.frames = 24;
  config.context = 4;
  config.batch = 2;
  config.window = 8;
  config.replicates = 20;
  config.likelihood_sequences = 2;
  config.likelihood.steps = 5;
  return config;
}

RunReport run(const Dataset& data, double offset, const EvaluationConfig& config, const FrameSink& sink = {}) {
  Copier model(offset);
  DiffusionConfig diffusion_config;
  diffusion_config.output = Space::x0;
  const auto diffusion = make_diffusion(diffusion_config);
  RolloutConfig rollout;
  rollout.steps = 4;
  rollout.policy.finished = Finished::reencode;
  rollout.policy.stabilization = 0;
  const Subject subject{"copier", model, diffusion, data.spec(), rollout};
  return evaluate_model(subject, data, reference_frames(data, config), config, sink);
}

Curve named(const RunReport& report, const std::string& name) {
  for (const auto& curve : report.curves)
    if (curve.name == name) return curve;
  throw std::out_of_range(name);
}

}  // namespace

TEST(Evaluate, APerfectModelMakesNoError) {
  const Clips still(0.0);
  const auto report = run(still, 0.0, small());
  for (const auto& point : named(report, "mse").points) EXPECT_NEAR(point.value.value, 0.0, 1e-5);
  for (const auto& point : named(report, "ssim").points) EXPECT_NEAR(point.value.value, 1.0, 1e-3);
  EXPECT_EQ(report.sequences, 3);
  EXPECT_EQ(report.frames, 24);
}

TEST(Evaluate, ErrorsAgainstTheTruthGrowWithTheHorizon) {
  const Clips drifting(0.1);
  const auto& points = named(run(drifting, 0.0, small()), "mse").points;
  ASSERT_EQ(points.size(), 3U);
  EXPECT_EQ(points[2].first, 17);
  EXPECT_EQ(points[2].last, 24);
  EXPECT_GT(points[1].value.value, 1.5 * points[0].value.value);
  EXPECT_LT(points[0].value.low, points[0].value.high);
}

TEST(Evaluate, ADriftingModelLeavesTheReferenceAndTheTruthDoesNot) {
  const Clips drifting(0.1);
  const auto config = small();
  const auto drifted = run(drifting, 0.1, config), truth = evaluate_truth(drifting, reference_frames(drifting, config), config);
  const auto last = [](const RunReport& r, const char* name) { return named(r, name).points.back().value.value; };
  EXPECT_GT(last(drifted, "frechet"), 3.0 * last(truth, "frechet"));
  EXPECT_GT(last(drifted, "histogram"), 1.5 * last(truth, "histogram"));
  EXPECT_GT(last(drifted, "frechet"), named(drifted, "frechet").points.front().value.value);
  EXPECT_NEAR(last(truth, "change"), 1.0, 0.2);
}

TEST(Evaluate, FramesComeInOrderAndOnce) {
  const Clips still(0.0);
  std::map<int64_t, int64_t> frames;
  run(still, 0.0, small(), [&](int64_t sequence, const Tensor& part) {
    EXPECT_EQ(part.scalar_type(), at::kByte);
    const auto expected = tokens_to_frames(still.get(sequence, 1).x, F, 0.5, 0.5).slice(0, 0, 1);
    EXPECT_LE((part.to(at::kInt) - expected.to(at::kInt)).abs().max().item<int>(), 1) << "of its own sequence";
    frames[sequence] += part.size(0);
  });
  EXPECT_EQ(frames, (std::map<int64_t, int64_t>{{0, 24}, {1, 24}, {2, 24}}));
}

TEST(Evaluate, ReportsTheBoundAndItsEnds) {
  const auto report = run(Clips(0.0), 0.0, small());
  std::map<std::string, double> numbers;
  for (const auto& [name, value] : report.numbers) numbers[name] = value.value;
  EXPECT_NEAR(numbers.at("elbo nats/element"),
              numbers.at("elbo prior (k = K)") + numbers.at("elbo posterior (k = 0)") + numbers.at("elbo diffusion"), 1e-9);
  EXPECT_NEAR(numbers.at("elbo bits/element"), numbers.at("elbo nats/element") / std::log(2.0) + std::log2(127.5), 1e-9);
  EXPECT_EQ(named(report, "x0_error_by_level").points.size(), 5U);
  EXPECT_EQ(named(report, "x0_error_by_level").points.back().first, 1000);
  auto without = small();
  without.likelihood_sequences = 0;
  EXPECT_THROW(named(run(Clips(0.0), 0.0, without), "x0_error_by_level"), std::out_of_range);
}

TEST(Evaluate, NamesWhatIsOutOfRange) {
  const Clips data(0.0);
  const auto message = [&](auto change) {
    auto config = small();
    change(config);
    return error_of([&] { validate(config, data.spec(), data); });
  };
  EXPECT_NE(message([](auto& c) { c.frames = 25; }).find("frames: expected a multiple of the 2 frames of a token, got 25"),
            std::string::npos);
  EXPECT_NE(message([](auto& c) { c.context = 3; }).find("context: expected a multiple"), std::string::npos);
  EXPECT_NE(message([](auto& c) { c.sequences = 7; }).find("sequences: expected at most 6"), std::string::npos);
  EXPECT_NE(message([](auto& c) { c.window = 1; }).find("window: expected at least 2, got 1"), std::string::npos);
  EXPECT_NE(message([](auto& c) { c.batch = 0; }).find("batch: expected at least 1, got 0"), std::string::npos);
  auto spec = data.spec();
  spec.token.token_shape = {6};
  EXPECT_NE(error_of([&] { validate(small(), spec, data); }).find("expected tokens of RGB frames"), std::string::npos);
}

}  // namespace df::test
