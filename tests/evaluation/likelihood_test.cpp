// SPDX-License-Identifier: MIT
#include "diffusion_forcing/evaluation/likelihood.hpp"

#include <ATen/ATen.h>

#include <cmath>
#include <numbers>

#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "support/support.hpp"

namespace df::test {

namespace {

// The best possible denoiser of a token N(rho * previous token, s^2), with an optional error: z is the previous token as it was shown.
class GaussianOracle final : public CausalModel {
 public:
  GaussianOracle(NoiseSchedule schedule, int64_t size, double rho, double s, double bias = 0.0)
      : schedule_(std::move(schedule)), size_(size), rho_(rho), s_(s), bias_(bias) {}
  TokenOutput step(const Tensor& x, const Tensor& k, const Tensor&, const Tensor& z) override {
    const auto a = at_level(schedule_.alpha_bar, k, x);
    const auto mean = rho_ * z, gain = a.sqrt() * s_ * s_ / (a * s_ * s_ + 1.0 - a);
    return {mean + gain * (x - a.sqrt() * mean) + bias_, x};
  }
  Tensor initial_latent(int64_t batch, const Tensor&) override { return at::zeros({batch, size_}); }
  Shape token_shape() const override { return {size_}; }
  Shape latent_shape() const override { return {size_}; }
  int64_t condition_dim() const override { return 0; }

 private:
  NoiseSchedule schedule_;
  int64_t size_;
  double rho_, s_, bias_;
};

constexpr int64_t B = 2, T = 6, D = 3000;
constexpr double rho = 0.8, s = 0.6;

Diffusion some_diffusion(Space output = Space::x0) {
  DiffusionConfig config;
  config.schedule = ScheduleKind::cosine;
  config.output = output;
  return make_diffusion(config);
}

LossInput chain() {
  Tensor last = at::zeros({B, D});
  std::vector<Tensor> tokens;
  for (int64_t t = 0; t < T; ++t) {
    last = rho * last + s * seeded_normal({B, D}, 100 + static_cast<uint64_t>(t));
    tokens.push_back(last);
  }
  return {at::stack(tokens, 1), {}, {}, at::zeros({B, D})};
}

double mean_nats(int64_t steps, int64_t history, double with_rho = rho, double bias = 0.0) {
  const auto diffusion = some_diffusion();
  GaussianOracle model(diffusion.schedule, D, with_rho, s, bias);
  const auto bound = likelihood(model, diffusion, {steps, history}, chain(), 7);
  return bound.nats().mean().item<double>() / static_cast<double>(bound.elements);
}

const double entropy = 0.5 * std::log(2.0 * std::numbers::pi * std::numbers::e * s * s);

}  // namespace

TEST(Likelihood, OfThePerfectModelHasAClosedForm) {
  // The perfect denoiser leaves the variance s^2 / (1 + s^2 SNR).
  const auto snr = some_diffusion().schedule.snr.to(at::kDouble);
  const auto left = [](double ratio) { return s * s / (1.0 + s * s * ratio); };
  for (const int64_t stride : {4, 20}) {
    const double lowest = snr[stride].item<double>();
    double expected = 0.5 * (lowest * left(lowest) + std::log(2.0 * std::numbers::pi / lowest));
    for (int64_t k = 2 * stride; k <= 1000; k += stride)
      expected += 0.5 * (snr[k - stride] - snr[k]).item<double>() * left(snr[k].item<double>());
    EXPECT_NEAR(mean_nats(1000 / stride, 0), expected, 0.03) << "steps of " << stride << " levels";
    EXPECT_GT(mean_nats(1000 / stride, 0), entropy) << "it is a bound";
  }
}

TEST(Likelihood, IsWorseForWorseModels) {
  const double best = mean_nats(100, 0);
  EXPECT_GT(mean_nats(100, 0, 0.0), best + 0.1) << "without its history";
  EXPECT_GT(mean_nats(100, 0, rho, 0.3), best + 0.1) << "with a bias";
  EXPECT_GT(mean_nats(100, 300), best + 0.05) << "with a noisy history";
  EXPECT_NEAR(mean_nats(100, 1), best, 0.02) << "the lowest level hides little";
}

TEST(Likelihood, EndsAreTheirFormulas) {
  const auto diffusion = some_diffusion();
  GaussianOracle model(diffusion.schedule, D, rho, s);
  const auto input = chain();
  const auto bound = likelihood(model, diffusion, {20, 0}, input, 7);
  const double a = diffusion.schedule.alpha_bar[1000].item<double>();
  const auto squares = input.x0.to(at::kDouble).square().flatten(1).sum(1);
  const auto prior = 0.5 * (a * squares + static_cast<double>(T * D) * ((1.0 - a) - 1.0 - std::log(1.0 - a)));
  EXPECT_LE((bound.prior - prior).abs().max().item<double>(), 1e-9);
  const double variance = 1.0 / diffusion.schedule.snr[bound.levels.front()].item<double>(), n = static_cast<double>(T * D);
  const auto posterior = 0.5 * n * (bound.x0_error.select(1, 0) / variance + std::log(2.0 * std::numbers::pi * variance));
  EXPECT_TRUE(close(bound.posterior, posterior, 1e-9));
  EXPECT_EQ(bound.diffusion.select(1, 0).abs().sum().item<double>(), 0.0);
  EXPECT_EQ(bound.levels.size(), 20U);
  EXPECT_EQ(bound.levels.back(), 1000);
  EXPECT_EQ(bound.elements, T * D);
  EXPECT_TRUE(close(bound.nats(), bound.prior + bound.posterior + bound.diffusion.sum(1), 1e-12));
  EXPECT_TRUE(close(bound.bits_per_element(0.5), bound.nats() / (n * std::log(2.0)) + std::log2(127.5), 1e-12));
}

TEST(Likelihood, ErrorsByLevelAreThoseOfTheDenoiser) {
  const auto diffusion = some_diffusion();
  GaussianOracle model(diffusion.schedule, D, rho, s);
  const auto bound = likelihood(model, diffusion, {20, 0}, chain(), 7);
  for (size_t i = 0; i < bound.levels.size(); ++i) {
    const double a = diffusion.schedule.alpha_bar[bound.levels[i]].item<double>();
    const double expected = s * s * (1.0 - a) / (a * s * s + 1.0 - a);  // variance of x0 given x
    EXPECT_NEAR(bound.x0_error.select(1, static_cast<int64_t>(i)).mean().item<double>(), expected, 0.1 * expected) << bound.levels[i];
  }
  const auto first = bound.x0_error.select(1, 0);
  EXPECT_TRUE((first < bound.x0_error.select(1, 19)).all().item<bool>());
}

TEST(Likelihood, IsAFunctionOfTheSeed) {
  const auto diffusion = some_diffusion();
  GaussianOracle model(diffusion.schedule, D, rho, s);
  const auto a = likelihood(model, diffusion, {5, 1}, chain(), 7), b = likelihood(model, diffusion, {5, 1}, chain(), 7);
  EXPECT_TRUE(identical(a.nats(), b.nats()));
  EXPECT_FALSE(at::equal(a.nats(), likelihood(model, diffusion, {5, 1}, chain(), 8).nats()));
  EXPECT_NE(error_of([&] {
              likelihood(model, diffusion, {5, 1001}, chain(), 7);
            }).find("history level: expected 0 to 1000, got 1001"),
            std::string::npos);
}

}  // namespace df::test
