// SPDX-License-Identifier: MIT
#include "diffusion_forcing/diffusion/noise_schedule.hpp"

#include <ATen/ATen.h>

#include <numbers>
#include <string>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/shape.hpp"

namespace df {

namespace {

constexpr double max_beta = 0.999;  // keeps alpha_bar positive at the last levels

// Variance added by each level, beta_1..beta_K, scaled so that any K adds up to the same total.
Tensor linear_betas(int64_t levels) {
  const double scale = 1000.0 / static_cast<double>(levels);
  return at::linspace(scale * 1e-4, scale * 0.02, levels, at::kDouble);
}

// From a continuous alpha_bar(u) sampled at u = 0, 1/K, ..., 1, up to a factor.
Tensor betas_of(const Tensor& signal) { return 1.0 - signal.slice(0, 1) / signal.slice(0, 0, -1); }

Tensor cosine_betas(int64_t levels) {
  constexpr double offset = 0.008;
  const auto u = at::linspace(0.0, 1.0, levels + 1, at::kDouble);
  return betas_of(((u + offset) / (1.0 + offset) * (std::numbers::pi / 2.0)).cos().square());
}

Tensor sigmoid_betas(int64_t levels) {
  constexpr double start = -3.0, end = 3.0;
  const auto u = at::linspace(start, end, levels + 1, at::kDouble);
  return betas_of(u[levels].sigmoid() - u.sigmoid());
}

Tensor betas(ScheduleKind kind, int64_t levels) {
  switch (kind) {
    case ScheduleKind::linear:
      return linear_betas(levels);
    case ScheduleKind::cosine:
      return cosine_betas(levels);
    case ScheduleKind::sigmoid:
      return sigmoid_betas(levels);
  }
  throw Error("schedule: unknown kind");
}

}  // namespace

NoiseSchedule NoiseSchedule::to(at::Device device) const {
  return {alpha_bar.to(device), sqrt_alpha_bar.to(device), sqrt_one_minus_alpha_bar.to(device), snr.to(device)};
}

NoiseSchedule make_noise_schedule(ScheduleKind kind, int64_t levels) {
  if (levels < 1) throw Error("noise schedule: expected at least 1 level, got " + std::to_string(levels));
  const auto kept = (1.0 - betas(kind, levels).clamp(0.0, max_beta)).cumprod(0);
  const auto alpha_bar = at::cat({at::ones({1}, at::kDouble), kept});
  const auto single = [](const Tensor& table) { return table.to(at::kFloat); };
  return {single(alpha_bar), single(alpha_bar.sqrt()), single((1.0 - alpha_bar).sqrt()), single(alpha_bar / (1.0 - alpha_bar))};
}

Tensor at_level(const Tensor& table, const Tensor& k, const Tensor& like) {
  return per_token(table.index_select(0, k.reshape(-1)).view(k.sizes()), like);
}

Tensor add_noise(const NoiseSchedule& schedule, const Tensor& x0, const Tensor& k, const Tensor& eps) {
  return at_level(schedule.sqrt_alpha_bar, k, x0) * x0 + at_level(schedule.sqrt_one_minus_alpha_bar, k, x0) * eps;
}

}  // namespace df
