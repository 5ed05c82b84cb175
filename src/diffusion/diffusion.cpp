// SPDX-License-Identifier: MIT
#include "diffusion_forcing/diffusion/diffusion.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>

#include "core/require.hpp"
#include "diffusion_forcing/core/error.hpp"

namespace df {

namespace {

// Squared error in `space` for a squared error of 1 in x0.
Tensor ratio_to_x0(Space space, const Tensor& snr) {
  switch (space) {
    case Space::eps:
      return snr;
    case Space::x0:
      return at::ones_like(snr);
    case Space::v:
      return snr + 1.0;
  }
  throw Error("diffusion: unknown space");
}

}  // namespace

Diffusion make_diffusion(const DiffusionConfig& config) {
  const Require require("diffusion");
  require.at_least("levels", config.levels, 1);
  require.positive("snr_clip", config.snr_clip);
  require.positive("clip_noise", config.clip_noise);
  require(config.snr_decay > 0.0 && config.snr_decay <= 1.0, "snr_decay", "a number in (0, 1]", config.snr_decay);
  return {config, make_noise_schedule(config.schedule, config.levels)};
}

Tensor encode(Space space, const NoiseSchedule& schedule, const Tensor& x0, const Tensor& k, const Tensor& eps) {
  switch (space) {
    case Space::eps:
      return eps;
    case Space::x0:
      return x0;
    case Space::v:
      return at_level(schedule.sqrt_alpha_bar, k, x0) * eps - at_level(schedule.sqrt_one_minus_alpha_bar, k, x0) * x0;
  }
  throw Error("diffusion: unknown space");
}

Denoised decode(Space space, const NoiseSchedule& schedule, const Tensor& x, const Tensor& k, const Tensor& output, double clip_noise) {
  const auto signal = at_level(schedule.sqrt_alpha_bar, k, x);           // sqrt(alpha_bar)
  const auto noise = at_level(schedule.sqrt_one_minus_alpha_bar, k, x);  // sqrt(1 - alpha_bar), 0 at level 0
  const auto noisy = noise > 0;
  switch (space) {
    case Space::eps: {
      const auto eps = output.clamp(-clip_noise, clip_noise) * noisy;
      return {(x - noise * eps) / signal, eps};
    }
    case Space::x0:
      return {output, (x - signal * output) * at::where(noisy, noise.reciprocal(), at::zeros_like(noise))};
    case Space::v:
      return {signal * x - noise * output, noise * x + (signal * noisy) * output};
  }
  throw Error("diffusion: unknown space");
}

Tensor squared_error_ratio(Space to, Space from, const Tensor& snr) {
  return to == from ? at::ones_like(snr) : ratio_to_x0(to, snr) / ratio_to_x0(from, snr);
}

}  // namespace df
