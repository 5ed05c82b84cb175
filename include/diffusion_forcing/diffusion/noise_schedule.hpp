// SPDX-License-Identifier: MIT
// Noise schedules: alpha_bar as a function of the noise level k in 0..K. Level 0 is exactly clean, K the noisiest.
// The authors' time index t is k - 1. Chen et al. 2024, section 3.1 and appendix; Nichol & Dhariwal 2021 (cosine); Jabri et al. 2022
// (sigmoid).
#pragma once

#include <cstdint>

#include "diffusion_forcing/core/enum_names.hpp"
#include "diffusion_forcing/core/tensor.hpp"

namespace df {

enum class ScheduleKind { linear, cosine, sigmoid };
template <>
struct EnumNames<ScheduleKind> {
  static constexpr std::pair<std::string_view, ScheduleKind> table[] = {
      {"linear", ScheduleKind::linear}, {"cosine", ScheduleKind::cosine}, {"sigmoid", ScheduleKind::sigmoid}};
};

// Tables over k, float32 [K+1], computed in float64. alpha_bar[0] == 1.
struct NoiseSchedule {
  Tensor alpha_bar;                                         // decreasing
  Tensor sqrt_alpha_bar;                                    // sqrt(alpha_bar)
  Tensor sqrt_one_minus_alpha_bar;                          // sqrt(1 - alpha_bar)
  Tensor snr;                                               // alpha_bar / (1 - alpha_bar); infinite at k = 0
  int64_t levels() const { return alpha_bar.size(0) - 1; }  // K
  NoiseSchedule to(at::Device device) const;
};

// Throws df::Error for levels < 1.
NoiseSchedule make_noise_schedule(ScheduleKind kind, int64_t levels);

// Table value of each token, shaped to broadcast over the token's elements: [N] -> [N, 1, ...].
// table [K+1], k int64 of any leading shape, like [k..., token...].
Tensor at_level(const Tensor& table, const Tensor& k, const Tensor& like);

// x = sqrt(alpha_bar_k) x0 + sqrt(1 - alpha_bar_k) eps.   x0, eps [..., token...], k int64 [...]
Tensor add_noise(const NoiseSchedule& schedule, const Tensor& x0, const Tensor& k, const Tensor& eps);

}  // namespace df
