// SPDX-License-Identifier: MIT
#include "diffusion_forcing/sampling/transition.hpp"

#include <ATen/ATen.h>

#include <cmath>
#include <vector>

#include "diffusion_forcing/core/seed.hpp"
#include "support/support.hpp"

namespace df::test {

namespace {

Tensor levels_of(std::initializer_list<int64_t> k) { return at::tensor(std::vector<int64_t>(k), at::kLong); }

// Mean and standard deviation of a Gaussian token of which the denoiser is known exactly. Data N(mu, s^2); at level k the token is
// N(sqrt(a) mu, a s^2 + 1 - a), and E[x0 | x] is linear in x, so the moments of every sampler are exact functions of the schedule.
struct Moments {
  double mean, variance;
};

Moments run_linear_gaussian(Solver solver, double eta, const std::vector<int64_t>& ladder, double mu, double s) {
  const auto schedule = make_noise_schedule(ScheduleKind::cosine, ladder.front());
  Moments m{0.0, 1.0};
  for (size_t i = 0; i + 1 < ladder.size(); ++i) {
    const auto from = levels_of({ladder[i]}), to = levels_of({ladder[i + 1]});
    const auto c = transition_coefficients(solver, schedule, from, to, eta, at::zeros({1}));
    const double a = schedule.alpha_bar[ladder[i]].item<double>(), noise = std::sqrt(1.0 - a);
    // x0(x) = gain x + offset, eps(x) = (x - sqrt(a) x0(x)) / noise
    const double gain = std::sqrt(a) * s * s / (a * s * s + 1.0 - a), offset = mu * (1.0 - a) / (a * s * s + 1.0 - a);
    const double cx = c.x0.item<double>(), ce = c.eps.item<double>(), sigma = c.sigma.item<double>();
    const double slope = cx * gain + ce * (1.0 - std::sqrt(a) * gain) / noise;
    m = {slope * m.mean + cx * offset - ce * std::sqrt(a) * offset / noise, slope * slope * m.variance + sigma * sigma};
  }
  return m;
}

std::vector<int64_t> even_ladder(int64_t levels, int64_t steps) {
  std::vector<int64_t> ladder;
  for (int64_t i = steps; i >= 0; --i) ladder.push_back(levels * i / steps);
  return ladder;
}

}  // namespace

TEST(Transition, ManySmallMovesSampleTheDataDistribution) {
  for (const double eta : {0.0, 0.5, 1.0}) {
    SCOPED_TRACE(eta);
    const auto m = run_linear_gaussian(Solver::ddim, eta, even_ladder(2000, 1000), 0.7, 0.5);
    EXPECT_NEAR(m.mean, 0.7, 5e-3);
    EXPECT_NEAR(std::sqrt(m.variance), 0.5, 1e-2);
  }
}

TEST(Transition, FewerMovesAreCoarserButClose) {
  const auto coarse = run_linear_gaussian(Solver::ddim, 0.0, even_ladder(2000, 20), 0.7, 0.5);
  const auto fine = run_linear_gaussian(Solver::ddim, 0.0, even_ladder(2000, 500), 0.7, 0.5);
  EXPECT_GT(std::abs(std::sqrt(coarse.variance) - 0.5), std::abs(std::sqrt(fine.variance) - 0.5));
  EXPECT_NEAR(coarse.mean, 0.7, 0.05);
}

TEST(Transition, KeepsTheForwardMarginalsWhateverEta) {
  // With the true x0 and eps, x' must be sqrt(a') x0 + noise of variance 1 - a'.
  const auto schedule = make_noise_schedule(ScheduleKind::linear, 1000);
  const auto from = levels_of({1000, 700, 500, 300, 20, 5}), to = levels_of({980, 100, 499, 0, 20, 1}), like = at::zeros({6, 3});
  for (const double eta : {0.0, 0.3, 1.0}) {
    const auto c = transition_coefficients(Solver::ddim, schedule, from, to, eta, like);
    EXPECT_EQ(c.x0.sizes(), (Shape{6, 1}));
    EXPECT_TRUE(close(c.x0, at_level(schedule.sqrt_alpha_bar, to, like), 1e-6));
    EXPECT_TRUE(close(c.eps.square() + c.sigma.square(), 1.0 - at_level(schedule.alpha_bar, to, like), 1e-6));
  }
}

TEST(Transition, DdpmIsTheAncestralPosterior) {
  const auto schedule = make_noise_schedule(ScheduleKind::linear, 1000);
  const auto from = levels_of({1000, 700, 500, 300, 2}), to = levels_of({980, 100, 499, 0, 1}), like = at::zeros({5, 3});
  const auto x0 = seeded_normal({5, 3}, 1), eps = seeded_normal({5, 3}, 2), x = add_noise(schedule, x0, from, eps);
  const auto a = at_level(schedule.alpha_bar, from, like).to(at::kDouble), b = at_level(schedule.alpha_bar, to, like).to(at::kDouble);
  // Ho et al. 2020, eq. 7, for the jump alpha = a / b.
  const auto alpha = a / b;
  const auto mean = b.sqrt() * (1 - alpha) / (1 - a) * x0 + alpha.sqrt() * (1 - b) / (1 - a) * x;
  const auto deviation = ((1 - b) / (1 - a) * (1 - alpha)).sqrt();
  const auto c = transition_coefficients(Solver::ddpm, schedule, from, to, 0.0, like);
  EXPECT_TRUE(close(c.x0 * x0 + c.eps * eps, mean, 1e-4));
  EXPECT_TRUE(close(c.sigma, deviation, 1e-4));
  const auto ddim = transition_coefficients(Solver::ddim, schedule, from, to, 1.0, like);
  EXPECT_TRUE(identical(c.eps, ddim.eps));
}

TEST(Transition, WithoutEtaThereIsNoNoise) {
  const auto schedule = make_noise_schedule(ScheduleKind::sigmoid, 100);
  const auto from = levels_of({100, 50}), to = levels_of({60, 0});
  const Denoised denoised{seeded_normal({2, 4}, 1), seeded_normal({2, 4}, 2)};
  const auto c = transition_coefficients(Solver::ddim, schedule, from, to, 0.0, denoised.x0);
  EXPECT_TRUE(at::equal(c.sigma, at::zeros_like(c.sigma)));
  EXPECT_TRUE(identical(transition(c, denoised, {}), transition(c, denoised, seeded_normal({2, 4}, 3))));
}

TEST(Transition, MovesToLevelZeroGiveTheCleanPrediction) {
  const auto schedule = make_noise_schedule(ScheduleKind::sigmoid, 100);
  const Denoised denoised{seeded_normal({3, 4}, 1), seeded_normal({3, 4}, 2)};
  for (const auto solver : {Solver::ddim, Solver::ddpm}) {
    const auto c = transition_coefficients(solver, schedule, levels_of({100, 1, 0}), levels_of({0, 0, 0}), 1.0, denoised.x0);
    EXPECT_TRUE(identical(transition(c, denoised, seeded_normal({3, 4}, 3)), denoised.x0)) << enum_name(solver);
  }
}

TEST(Transition, StayingAtALevelGivesBackTheToken) {
  const auto schedule = make_noise_schedule(ScheduleKind::sigmoid, 100);
  const auto k = levels_of({100, 40, 1});
  const Denoised denoised{seeded_normal({3, 4}, 1), seeded_normal({3, 4}, 2)};
  const auto c = transition_coefficients(Solver::ddpm, schedule, k, k, 0.0, denoised.x0);
  EXPECT_TRUE(close(transition(c, denoised, seeded_normal({3, 4}, 3)), add_noise(schedule, denoised.x0, k, denoised.eps), 1e-6));
}

TEST(Transition, RefusesNegativeEta) {
  const auto schedule = make_noise_schedule(ScheduleKind::linear, 10);
  const auto message =
      error_of([&] { transition_coefficients(Solver::ddim, schedule, levels_of({10}), levels_of({5}), -0.1, at::zeros({1})); });
  EXPECT_NE(message.find("eta: expected a number of at least 0"), std::string::npos);
}

}  // namespace df::test
