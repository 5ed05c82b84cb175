// SPDX-License-Identifier: MIT
// What trainer and sampler must agree on: the schedule, what the network gives, where the error is measured.
#pragma once

#include <cstdint>

#include "diffusion_forcing/core/enum_names.hpp"
#include "diffusion_forcing/core/tensor.hpp"
#include "diffusion_forcing/diffusion/loss_weight.hpp"
#include "diffusion_forcing/diffusion/noise_schedule.hpp"

namespace df {

// eps: the noise; x0: the clean token; v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x0 (Salimans & Ho 2022).
enum class Space { eps, x0, v };
template <>
struct EnumNames<Space> {
  static constexpr std::pair<std::string_view, Space> table[] = {{"eps", Space::eps}, {"x0", Space::x0}, {"v", Space::v}};
};

// The section `diffusion`.
struct DiffusionConfig {
  ScheduleKind schedule = ScheduleKind::sigmoid;
  int64_t levels = 1000;      // K
  Space output = Space::eps;  // what the network gives
  Space loss = Space::eps;    // where the squared error is measured
  LossWeight weight = LossWeight::fused_snr;
  double snr_clip = 5.0;     // min-SNR bound (Hang et al. 2023)
  double snr_decay = 0.9;    // of the history's accumulated SNR, per frame; fused_snr and cumulative_snr
  double clip_noise = 20.0;  // every normal draw and eps prediction is clamped to +- this
  template <class V>
  void visit(V&& v) {
    v("schedule", schedule, "noise schedule");
    v("levels", levels, "noise levels K");
    v("output", output, "what the network gives");
    v("loss", loss, "space of the squared error");
    v("weight", weight, "weight of a token in the loss");
    v("snr_clip", snr_clip, "bound of the signal-to-noise ratio in the weights");
    v("snr_decay", snr_decay, "decay of the history's SNR, per frame");
    v("clip_noise", clip_noise, "bound of noise draws and of eps predictions");
  }
};

// The configuration and the tables that follow from it, on one device.
struct Diffusion {
  DiffusionConfig config;
  NoiseSchedule schedule;
  Diffusion to(at::Device device) const { return {config, schedule.to(device)}; }
};
// Throws df::Error naming the field for values out of range.
Diffusion make_diffusion(const DiffusionConfig& config);

// The two parts of a noisy token, as the network sees them.
struct Denoised {
  Tensor x0, eps;  // [..., token...] both
};

// The network's target. x0, eps [..., token...], k int64 [...].
Tensor encode(Space space, const NoiseSchedule& schedule, const Tensor& x0, const Tensor& k, const Tensor& eps);

// Inverse: from the noisy token x at level k and the network's output in `space` to x0 and eps. An eps output is clamped to
// +- clip_noise first. At k = 0 x0 is x (or the x0 output) and eps is 0.
Denoised decode(Space space, const NoiseSchedule& schedule, const Tensor& x, const Tensor& k, const Tensor& output, double clip_noise);

// Errors of one token in two spaces differ by a factor of its level alone: e_eps = -sqrt(SNR) e_x0, e_v = -sqrt(SNR + 1) e_x0.
// The squared error in `to` is this times the squared error in `from`. snr finite, any shape.
Tensor squared_error_ratio(Space to, Space from, const Tensor& snr);

}  // namespace df
