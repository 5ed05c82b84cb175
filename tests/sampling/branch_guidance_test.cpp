// SPDX-License-Identifier: MIT
// Guidance by sampled futures and by resampling, against the closed form of a linear Gaussian case.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "sampling/linear_gaussian.hpp"
#include "support/support.hpp"

namespace df {
namespace {

using test::close;
using test::error_of;
using test::error_of_moments;
using test::gaussian_case;
using test::GaussianCase;
using test::identical;
using test::MomentError;
using test::posterior_moments;
using test::prior_moments;
using test::sample_moments;
using test::sampler_moments;

SampleOutput guided(GaussianCase& c) { return sample_guided(*c.model, c.diffusion, c.plan, c.sampler, c.guidance, c.input); }
Particles resampled(GaussianCase& c) { return sample_particles(*c.model, c.diffusion, c.plan, c.sampler, c.guidance, c.input); }

// Deterministic, with any matrix, so that single rows can be compared.
GaussianCase ddim_case(const SchedulingMatrix& matrix, int64_t levels, int64_t sequences, uint64_t seed) {
  GaussianCase c = gaussian_case(matrix.tokens, levels, sequences, seed);
  PlanPolicy policy;
  policy.row_order = true;
  c.plan = compile(matrix, policy);
  c.sampler.solver = Solver::ddim;
  return c;
}

TEST(LinearGaussian, UnguidedSamplesFollowThePrior) {
  // What a finite number of DDPM steps lacks in variance falls as one over it: 0.19, 0.11, 0.06, 0.03 with 20, 40, 80, 160 steps.
  double before = std::numeric_limits<double>::infinity();
  for (const int64_t levels : {20, 40, 80, 160}) {
    const double lack = error_of_moments(sampler_moments(3, levels), prior_moments({}, 3)).covariance;
    EXPECT_LT(lack, 0.65 * before) << levels << " steps";
    before = lack;
  }
  EXPECT_LT(before, 0.04);
  GaussianCase c = gaussian_case(3, 40, 8192, 1);
  const Tensor x = sample(*c.model, c.diffusion, c.plan, c.sampler, c.input).x;
  const MomentError error = error_of_moments(sample_moments(x), sampler_moments(3, 40));  // standard errors 0.011 and 0.014
  EXPECT_LT(error.mean, 0.05);
  EXPECT_LT(error.covariance, 0.06);
}

// Errors against the posterior, of 512 sequences of two tokens in 40 levels.
MomentError branch_error(int64_t branches, int64_t lookahead) {
  GaussianCase c = gaussian_case(2, 40, 512, 1);
  c.guidance.config.value = BranchValue::soft;
  c.guidance.config.branches = branches;
  c.guidance.config.lookahead = lookahead;
  return error_of_moments(sample_moments(guided(c).x), posterior_moments(c.dynamics, prior_moments(c.dynamics, 2), 1.0));
}

TEST(BranchGuidance, ManySampledFuturesGiveThePosterior) {
  // The first token is guided by what the second may become. One future, sampled or not, takes its reward for certain, and guides too much.
  const MomentError point = branch_error(1, 1), one = branch_error(1, 20), few = branch_error(4, 20), many = branch_error(32, 20);
  EXPECT_LT(many.mean, 0.2);        // of 0.96 and 1.2
  EXPECT_LT(many.covariance, 0.2);  // of 0.488, 0.16 and 0.2; 0.04 of it are the finite steps', and 0.03 the standard error
  EXPECT_LT(many.mean, few.mean - 0.15);
  EXPECT_LT(few.mean, one.mean - 0.25);
  EXPECT_LT(many.covariance, few.covariance - 0.04);
  EXPECT_LT(few.covariance, one.covariance - 0.05);
  EXPECT_GT(point.mean, many.mean + 0.45);
  EXPECT_GT(point.covariance, 1.5 * many.covariance);
}

TEST(BranchGuidance, ScaleIsThatOfTheReward) {
  // A scale of 1/4 is a reward of twice the spread.
  GaussianCase a = gaussian_case(2, 10, 16, 2), b = gaussian_case(2, 10, 16, 2);
  for (const BranchValue value : {BranchValue::expected, BranchValue::soft}) {
    for (GaussianCase* c : {&a, &b}) c->guidance.config = {.branches = 4, .lookahead = 3, .value = value};
    a.guidance.config.scale = 0.25;
    b.guidance.reward = [reward = a.guidance.reward](const Tensor& x0) { return reward(x0) / 4; };
    EXPECT_TRUE(close(guided(a).x, guided(b).x, 1e-5)) << enum_name(value);
  }
}

TEST(BranchGuidance, OneFutureHasOneValue) {
  GaussianCase c = gaussian_case(2, 10, 16, 2);
  c.guidance.config = {.scale = 0.7, .lookahead = 3, .value = BranchValue::expected};
  const Tensor expected = guided(c).x;
  c.guidance.config.value = BranchValue::soft;
  EXPECT_TRUE(close(guided(c).x, expected, 1e-5));
  c.guidance.config.branches = 4;
  EXPECT_FALSE(close(guided(c).x, expected, 1e-2));
}

TEST(BranchGuidance, TheNetworkIsNeverShownLevelZero) {
  // Training draws levels 1..K; a branch that has more steps than levels are left must not go below.
  struct Watched : test::LinearGaussian {
    using LinearGaussian::LinearGaussian;
    TokenOutput step(const Tensor& x, const Tensor& k, const Tensor& c, const Tensor& z) override {
      lowest = std::min(lowest, k.min().item<int64_t>());
      return LinearGaussian::step(x, k, c, z);
    }
    int64_t lowest = 1000;
  };
  GaussianCase c = ddim_case(make_matrix(MatrixKind::trapezoid, 5, ladder(10, 5), 2.0), 10, 2, 3);
  Watched model(c.dynamics, c.diffusion.schedule);
  c.guidance.config.branches = 2;
  c.guidance.config.lookahead = 7;
  sample_guided(model, c.diffusion, c.plan, c.sampler, c.guidance, c.input);
  EXPECT_EQ(model.lowest, 1);
}

TEST(BranchGuidance, OneFutureWithoutChanceIsThePlainGradient) {
  // Each row of two tokens by hand, with the gains of the Kalman filter.
  const SchedulingMatrix matrix{5, 2, {20, 20, 12, 20, 8, 14, 3, 9, 0, 0}};
  GaussianCase c = ddim_case(matrix, 20, 3, 4);
  for (const GuidanceCoefficient coefficient : {GuidanceCoefficient::exact, GuidanceCoefficient::released}) {
    c.guidance.config = {.scale = 0.3, .coefficient = coefficient};
    std::vector<Tensor> rows{c.input.x};
    sample_guided(*c.model, c.diffusion, c.plan, c.sampler, c.guidance, c.input, [&](int64_t, const Tensor& x) { rows.push_back(x); });
    ASSERT_EQ(rows.size(), 5U);
    const auto& d = c.dynamics;
    for (int64_t m = 0; m < 4; ++m) {
      const Tensor x = rows[static_cast<size_t>(m)].to(at::kDouble);
      Tensor x0[2], next[2], through[2];  // through: d x0 / d x of the same token
      Tensor mean = at::zeros({3, 1}, at::kDouble);
      double variance = 1.0, carry = 0.0;  // carry: d mean / d (x0 before)
      for (int64_t t = 0; t < 2; ++t) {
        const int64_t from = matrix.at(m, t), to = matrix.at(m + 1, t);
        const double a = c.diffusion.schedule.alpha_bar[from].item<double>(), b = c.diffusion.schedule.alpha_bar[to].item<double>();
        const double gain = variance * std::sqrt(a) / (variance * a + 1 - a);
        x0[t] = mean + gain * (x.select(1, t) - std::sqrt(a) * mean);
        const Tensor eps = (x.select(1, t) - std::sqrt(a) * x0[t]) / std::sqrt(1 - a);
        next[t] = from == to ? x.select(1, t) : std::sqrt(b) * x0[t] + std::sqrt(1 - b) * eps;
        through[t] = at::full({1}, gain, at::kDouble);
        if (t == 1) carry = d.a * (1 - gain * std::sqrt(a));
        mean = d.a * x0[t];
        variance = d.a * d.a * variance * (1 - gain * std::sqrt(a)) + d.s * d.s;
      }
      const Tensor slope = c.guidance.config.scale * (d.target - x0[1]) / (d.spread * d.spread);  // d (scale r) / d x0_2
      const Tensor gradient[2] = {slope * carry * through[0], slope * through[1]};
      for (int64_t t = 0; t < 2; ++t) {
        const Tensor g = guidance_coefficient(coefficient, c.diffusion.schedule, at::tensor({int64_t{matrix.at(m, t)}}),
                                              at::tensor({int64_t{matrix.at(m + 1, t)}}), 0.0);
        EXPECT_TRUE(close(rows[static_cast<size_t>(m) + 1].select(1, t), (next[t] + g * gradient[t]).to(at::kFloat), 1e-4))
            << "row " << m << ", token " << t << ", " << enum_name(coefficient);
      }
    }
  }
}

TEST(BranchGuidance, TheCoefficientOfDdpmMovesItsMeanByTheScore) {
  // With x0 moved by (1 - a) / sqrt(a) grad, the posterior's mean (Ho et al. 2020, eq. 7) moves by sqrt(a' / a) (1 - a / a') grad.
  const Diffusion diffusion = test::gaussian_diffusion(50);
  const Tensor from = at::tensor({50, 40, 17, 1}, at::kLong), to = at::tensor({49, 20, 3, 0}, at::kLong);
  const Tensor a = diffusion.schedule.alpha_bar.index_select(0, from).to(at::kDouble),
               next = diffusion.schedule.alpha_bar.index_select(0, to).to(at::kDouble);
  EXPECT_TRUE(close(guidance_coefficient(GuidanceCoefficient::exact, diffusion.schedule, from, to, 1.0),
                    ((next / a).sqrt() * (1 - a / next)).to(at::kFloat), 1e-5));
}

TEST(BranchGuidance, AnAdditiveRewardMayBeShownTheUnfinishedTokensAlone) {
  const auto sum = [](const Tensor& x0) { return -(x0 - 1.0).square().sum({1, 2}); };
  for (const MatrixKind kind : {MatrixKind::autoregressive, MatrixKind::pyramid, MatrixKind::trapezoid})
    for (const int64_t lookahead : {1, 4})
      for (const BranchValue value : {BranchValue::expected, BranchValue::soft}) {
        GaussianCase c = ddim_case(make_matrix(kind, 4, ladder(12, 6), 2.0), 12, 3, 5);
        int64_t fewest = 4;
        c.guidance.config = {.scale = 0.5, .branches = lookahead == 1 ? 1 : 3, .lookahead = lookahead, .value = value};
        c.guidance.reward = sum;
        const Tensor whole = guided(c).x;
        c.guidance.additive = true;
        c.guidance.reward = [&](const Tensor& x0) {
          fewest = std::min(fewest, x0.size(1));
          return sum(x0);
        };
        EXPECT_TRUE(close(guided(c).x, whole, 1e-5)) << enum_name(kind) << ", lookahead " << lookahead << ", " << enum_name(value);
        EXPECT_LT(fewest, 4);
      }
}

TEST(BranchGuidance, IsAFunctionOfItsSeed) {
  GaussianCase c = gaussian_case(2, 10, 4, 6);
  c.guidance.config.branches = 3;
  c.guidance.config.lookahead = 4;
  const Tensor first = guided(c).x;
  EXPECT_TRUE(identical(guided(c).x, first));
  GuidedSampler kept(*c.model, c.diffusion, c.sampler, c.guidance);
  kept.sample(c.plan, c.input);
  EXPECT_TRUE(identical(kept.sample(c.plan, c.input).x, first));
  kept.set_seed(c.guidance.seed + 1);
  EXPECT_FALSE(close(kept.sample(c.plan, c.input).x, first, 1e-3));
}

TEST(BranchGuidance, SequencesAreGuidedAloneWithoutBranches) {
  GaussianCase c = ddim_case(make_matrix(MatrixKind::pyramid, 3, ladder(12, 6), 1.0), 12, 4, 7);
  const Tensor all = guided(c).x;
  c.input.x = c.input.x.narrow(0, 2, 1);
  c.input.z = c.input.z.narrow(0, 2, 1);
  EXPECT_TRUE(close(guided(c).x, all.narrow(0, 2, 1), 1e-5));
}

// Errors of R weighted particles against what reward makes of the sampler's own law.
MomentError particle_error(int64_t particles, int64_t sequences) {
  GaussianCase c = gaussian_case(2, 40, sequences, 1);
  c.guidance.config.form = GuidanceForm::resample;
  c.guidance.config.branches = particles;
  const Particles p = resampled(c);
  EXPECT_TRUE(close(p.log_weight.logsumexp(1).exp(), at::ones({sequences}, at::kDouble), 1e-9));
  const Tensor weight = p.log_weight.exp().flatten() / static_cast<double>(sequences);
  return error_of_moments(sample_moments(p.x.flatten(0, 1), weight), posterior_moments(c.dynamics, sampler_moments(2, 40), 1.0));
}

TEST(Particles, ManyFollowThePosterior) {
  // On the way, particles are chosen by the reward of their clean prediction, which is too sure of itself. The weights make up for it where
  // there are many; with eight or fewer more of them do not help.
  const MomentError few = particle_error(8, 1024), some = particle_error(32, 512), many = particle_error(256, 256);
  EXPECT_LT(many.mean, 0.1);
  EXPECT_LT(many.covariance, 0.08);
  EXPECT_LT(many.mean, some.mean - 0.03);
  EXPECT_LT(some.mean, few.mean - 0.03);
}

TEST(Particles, WeighTheRewardOfTheFinishedTokens) {
  // Without a draw anew the weights are those of importance sampling, whatever the predictions in between were: also where finished tokens
  // are shown again, with noise, and predicted otherwise.
  GaussianCase c = gaussian_case(3, 12, 5, 8);
  c.plan = compile(make_matrix(MatrixKind::pyramid, 3, ladder(12, 12), 1.0),
                   {.finished = Finished::reencode, .stabilization = 6, .row_order = true});
  c.guidance.config = {.form = GuidanceForm::resample, .scale = 0.02, .branches = 6};
  c.guidance.reward = [](const Tensor& x0) { return -(x0 - 1.0).square().sum({1, 2}); };
  const Particles p = resampled(c);
  EXPECT_TRUE(close(p.log_weight, at::log_softmax(0.02 * p.reward, 1), 1e-9));
}

TEST(Particles, AreAFunctionOfTheirSeed) {
  GaussianCase c = gaussian_case(2, 10, 3, 8);
  c.guidance.config.form = GuidanceForm::resample;
  c.guidance.config.branches = 8;
  const Particles first = resampled(c), again = resampled(c);
  EXPECT_TRUE(identical(first.x, again.x));
  EXPECT_TRUE(identical(first.z, again.z));
  EXPECT_TRUE(identical(first.log_weight, again.log_weight));
  EXPECT_EQ(first.x.sizes().vec(), (Shape{3, 8, 2, 1}));
  for (int64_t r = 0; r < 8; ++r)
    EXPECT_TRUE(close(first.reward.select(1, r), c.guidance.reward(first.x.select(1, r)).to(at::kDouble), 1e-6));
  c.guidance.seed += 1;
  EXPECT_FALSE(close(resampled(c).x, first.x, 1e-3));
}

TEST(Guidance, NamesWhatIsWrongWithTheReward) {
  GaussianCase c = gaussian_case(2, 10, 3, 9);
  const Reward good = c.guidance.reward;
  for (const GuidanceForm form : {GuidanceForm::gradient, GuidanceForm::resample})
    for (const int64_t branches : {1, 4}) {
      if (form == GuidanceForm::resample && branches == 1) continue;
      c.guidance.config = {.form = form, .branches = branches, .lookahead = branches};
      const auto run = [&] { form == GuidanceForm::gradient ? (void)guided(c) : (void)resampled(c); };
      c.guidance.reward = [](const Tensor& x0) { return x0.sum(2); };
      EXPECT_EQ(error_of(run), "reward: expected shape [3], got [3, 2]");
      int64_t calls = 0;
      c.guidance.reward = [&](const Tensor& x0) {
        ++calls;
        return good(x0) / at::zeros({3}) - good(x0) / at::zeros({3});
      };
      EXPECT_EQ(error_of(run), "reward: expected finite values, got NaN or infinity");
      EXPECT_EQ(calls, branches) << "the first row's";
      c.guidance.reward = [](const Tensor&) { return at::ones({3}); };
      if (form == GuidanceForm::gradient)
        EXPECT_EQ(error_of(run),
                  "reward: expected a value that depends on the tokens differentiably, got a constant; guidance.form resample needs no "
                  "gradient");
      else
        EXPECT_NO_THROW(run());
    }
}

TEST(Guidance, NamesWhatIsWrongWithItsConfiguration) {
  SamplerConfig ddim, ddpm;
  ddpm.solver = Solver::ddpm;
  const auto message = [](const GuidanceConfig& config, const SamplerConfig& sampler) {
    return error_of([&] { validate(config, sampler, "planning.guidance"); });
  };
  EXPECT_EQ(message({.scale = -1}, ddim), "planning.guidance.scale: expected a number of at least 0, got -1");
  EXPECT_EQ(message({.scale = std::nan("")}, ddim), "planning.guidance.scale: expected a number of at least 0, got nan");
  EXPECT_EQ(message({.branches = 0}, ddim), "planning.guidance.branches: expected at least 1, got 0");
  EXPECT_EQ(message({.lookahead = 0}, ddim), "planning.guidance.lookahead: expected at least 1, got 0");
  EXPECT_EQ(message({.branches = 4}, ddpm),
            "planning.guidance.lookahead: expected at least 2 with several branches, which are equal without chance, got 1");
  EXPECT_EQ(message({.form = GuidanceForm::resample}, ddpm),
            "planning.guidance.branches: expected at least 2 particles to choose from, got 1");
  const GuidanceConfig resample{.form = GuidanceForm::resample, .branches = 4};
  EXPECT_EQ(message(resample, ddim),
            "planning.guidance.form: expected gradient, or resample with sampling.eta above 0 (copies must part), got resample with eta 0");
  EXPECT_NO_THROW(validate(resample, ddpm, ""));
  ddim.eta = 0.5;
  EXPECT_NO_THROW(validate(resample, ddim, ""));
  EXPECT_NO_THROW(validate({.branches = 4, .lookahead = 2}, ddim, ""));

  GaussianCase c = gaussian_case(2, 10, 3, 10);
  EXPECT_EQ(error_of([&] { resampled(c); }), "guidance.form: expected resample, got gradient");
  c.guidance.config = resample;
  EXPECT_EQ(error_of([&] { guided(c); }), "guidance.form: expected gradient, got resample (sample_particles)");
  c.guidance.config.branches = 1;
  EXPECT_EQ(error_of([&] { resampled(c); }), "guidance.branches: expected at least 2 particles to choose from, got 1");
}

TEST(Guidance, WantsEveryUnfinishedTokenInEveryRow) {
  const std::string expected = "guided sampling: expected a plan in row order (PlanPolicy::row_order), got ";
  GaussianCase c = gaussian_case(3, 10, 2, 11);
  const auto both = [&](const std::string& got) {
    c.guidance.config = {};
    EXPECT_EQ(error_of([&] { guided(c); }), expected + got);
    c.guidance.config = {.form = GuidanceForm::resample, .branches = 4};
    EXPECT_EQ(error_of([&] { resampled(c); }), expected + got);
  };
  c.plan = compile(make_matrix(MatrixKind::full_sequence, 3, ladder(10, 5), 1.0), {});
  both("a step of several cells");
  // One cell a step, but the tokens to come are noise that nobody has looked at.
  c.plan = compile(make_matrix(MatrixKind::autoregressive, 3, ladder(10, 5), 1.0), {});
  both("row 0 without its unfinished token 1");
}

}  // namespace
}  // namespace df
