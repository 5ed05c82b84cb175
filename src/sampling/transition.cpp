// SPDX-License-Identifier: MIT
#include "diffusion_forcing/sampling/transition.hpp"

#include <ATen/ATen.h>

#include <string>

#include "diffusion_forcing/core/error.hpp"

namespace df {

TransitionCoefficients transition_coefficients(Solver solver, const NoiseSchedule& schedule, const Tensor& from, const Tensor& to,
                                               double eta, const Tensor& like) {
  if (!(eta >= 0.0)) throw Error("eta: expected a number of at least 0, got " + std::to_string(eta));
  // The ancestral posterior q(x_to | x_from, x0), written in x0 and eps, is DDIM with eta = 1 (Song et al. 2021, section 4.1).
  if (solver == Solver::ddpm) eta = 1.0;
  const auto a_from = at_level(schedule.alpha_bar, from, like), a_to = at_level(schedule.alpha_bar, to, like);
  const auto noise_from = at_level(schedule.sqrt_one_minus_alpha_bar, from, like).square();  // 1 - a, accurate where a is near 1
  const auto noise_to = at_level(schedule.sqrt_one_minus_alpha_bar, to, like).square();
  // A token that is clean before is clean after: its variance is 0 / 0, and 0 is meant.
  const auto share = at::where(noise_from > 0, noise_to / noise_from, at::zeros_like(noise_to));
  const auto variance = (eta * eta) * (1.0 - a_from / a_to) * share;
  return {at_level(schedule.sqrt_alpha_bar, to, like), (noise_to - variance).clamp_min(0.0).sqrt(), variance.sqrt()};
}

Tensor transition(const TransitionCoefficients& coefficients, const Denoised& denoised, const Tensor& noise) {
  const auto mean = coefficients.x0 * denoised.x0 + coefficients.eps * denoised.eps;
  return noise.defined() ? mean + coefficients.sigma * noise : mean;
}

}  // namespace df
