// SPDX-License-Identifier: MIT
// A case that guided sampling can be compared with in closed form: scalar tokens x_1 ~ N(0, 1), x_{t+1} = a x_t + s w, a model that is
// the exact posterior mean (a Kalman filter), and a reward of the last token alone.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <utility>
#include <vector>

#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/sampling/guidance.hpp"

namespace df::test {

struct Dynamics {
  double a = 0.8, s = 0.6;            // a^2 + s^2 = 1: every token has variance 1
  double target = 1.5, spread = 0.5;  // reward -(x_T - target)^2 / (2 spread^2)
};

// z is (mean, variance) of the next token given the noisy ones so far; the prediction is E[x_t | z_{t-1}, x_t^k].
class LinearGaussian : public CausalModel {
 public:
  LinearGaussian(const Dynamics& dynamics, NoiseSchedule schedule) : dynamics_(dynamics), schedule_(std::move(schedule)) {
    register_parameter("device", at::zeros({1}));
  }
  TokenOutput step(const Tensor& x, const Tensor& k, const Tensor&, const Tensor& z) override {
    const Tensor mean = z.narrow(1, 0, 1), variance = z.narrow(1, 1, 1), signal = at_level(schedule_.sqrt_alpha_bar, k, x),
                 noise = at_level(schedule_.sqrt_one_minus_alpha_bar, k, x).square();
    const Tensor gain = variance * signal / (signal.square() * variance + noise);
    const Tensor now = mean + gain * (x - signal * mean), left = variance * (1 - gain * signal);
    return {now, at::cat({dynamics_.a * now, dynamics_.a * dynamics_.a * left + dynamics_.s * dynamics_.s}, 1)};
  }
  Tensor initial_latent(int64_t batch, const Tensor&) override { return at::tensor({0.0F, 1.0F}).expand({batch, 2}).contiguous(); }
  Shape token_shape() const override { return {1}; }
  Shape latent_shape() const override { return {2}; }
  int64_t condition_dim() const override { return 0; }

 private:
  Dynamics dynamics_;
  NoiseSchedule schedule_;
};

struct Moments {
  Tensor mean, covariance;  // float64 [T], [T, T]
};

// Of the tokens themselves.
inline Moments prior_moments(const Dynamics& d, int64_t tokens) {
  const Tensor t = at::arange(tokens, at::kDouble);
  return {at::zeros({tokens}, at::kDouble), at::full({}, d.a, at::kDouble).pow((t.unsqueeze(1) - t).abs())};
}

// Of p(x) exp(scale * reward(x)), p being Gaussian with mean 0: a measurement of the last token.
inline Moments posterior_moments(const Dynamics& d, const Moments& prior, double scale) {
  const Tensor last = prior.covariance.select(1, prior.mean.size(0) - 1), gain = last / (last[-1] + d.spread * d.spread / scale);
  return {gain * d.target, prior.covariance - at::outer(gain, last)};
}

// Of samples x [N, T, 1], with weights [N] that sum to 1.
inline Moments sample_moments(const Tensor& x, const Tensor& weight) {
  const Tensor rows = x.squeeze(2).to(at::kDouble), w = weight.to(at::kDouble).unsqueeze(1), mean = (w * rows).sum(0);
  const Tensor centred = rows - mean;
  return {mean, (w * centred).t().mm(centred)};
}
inline Moments sample_moments(const Tensor& x) { return sample_moments(x, at::full({x.size(0)}, 1.0 / static_cast<double>(x.size(0)))); }

// Largest differences of two Gaussians' moments.
struct MomentError {
  double mean, covariance;
};
inline MomentError error_of_moments(const Moments& got, const Moments& expected) {
  return {(got.mean - expected.mean).abs().max().item<double>(), (got.covariance - expected.covariance).abs().max().item<double>()};
}

// Everything that a call needs, T tokens of `sequences` sequences on K levels.
struct GaussianCase {
  Dynamics dynamics;
  Diffusion diffusion;
  std::shared_ptr<LinearGaussian> model;
  Plan plan;
  SamplerConfig sampler;
  SampleInput input;
  Guidance guidance;
};

inline Diffusion gaussian_diffusion(int64_t levels) {
  DiffusionConfig config;
  config.levels = levels;
  config.output = Space::x0;
  return make_diffusion(config);
}

// Autoregressive in row order, `levels` steps a token, DDPM.
inline GaussianCase gaussian_case(int64_t tokens, int64_t levels, int64_t sequences, uint64_t seed) {
  GaussianCase c{{}, gaussian_diffusion(levels), nullptr, {}, {}, {}, {}};
  c.model = std::make_shared<LinearGaussian>(c.dynamics, c.diffusion.schedule);
  PlanPolicy policy;
  policy.row_order = true;
  c.plan = compile(make_matrix(MatrixKind::autoregressive, tokens, ladder(levels, levels), 1.0), policy);
  c.sampler.solver = Solver::ddpm;
  c.input.x = seeded_normal({sequences, tokens, 1}, derive_seed(seed, {0}));
  c.input.z = c.model->initial_latent(sequences, {});
  c.input.noise = [seed, sequences](const PlanStep& cells) {  // one draw a cell for all sequences: thousands of seeds take long
    std::vector<Tensor> draws;
    for (const Cell& cell : cells)
      draws.push_back(
          seeded_normal({sequences, 1}, derive_seed(seed, {1, static_cast<uint64_t>(cell.row), static_cast<uint64_t>(cell.token)})));
    return at::stack(draws, 1);
  };
  c.guidance.seed = derive_seed(seed, {2});
  c.guidance.reward = [d = c.dynamics](const Tensor& x0) {
    return -(x0.select(1, x0.size(1) - 1).squeeze(1) - d.target).square() / (2 * d.spread * d.spread);
  };
  return c;
}

// The law of what the unguided sampler draws, which is linear in its normal draws: the response to each of them alone. It is the prior
// but for the finite number of steps.
inline Moments sampler_moments(int64_t tokens, int64_t levels) {
  const int64_t draws = tokens + gaussian_case(tokens, levels, 1, 0).plan.cells();
  GaussianCase c = gaussian_case(tokens, levels, draws, 0);
  const Tensor one_each = at::eye(draws);
  c.input.x = one_each.narrow(1, 0, tokens).unsqueeze(2);
  c.input.noise = [&, next = tokens](const PlanStep&) mutable { return one_each.select(1, next++).view({draws, 1, 1}); };
  const Tensor response = sample(*c.model, c.diffusion, c.plan, c.sampler, c.input).x.squeeze(2).to(at::kDouble);
  return {at::zeros({tokens}, at::kDouble), response.t().mm(response)};
}

}  // namespace df::test
