// SPDX-License-Identifier: MIT
#include "diffusion_forcing/diffusion/loss_weight.hpp"

#include <ATen/ATen.h>

#include <vector>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/diffusion/diffusion.hpp"

namespace df {

namespace {

// C of the tokens before each one, where C is the moving average C_1 = s_1, C_t = decay C_{t-1} + (1 - decay) s_t; 0 before the first.
// signal s [B, T] in 0..1 -> [B, T]
Tensor accumulated_before(const Tensor& signal, double decay) {
  std::vector<Tensor> before{at::zeros_like(signal.select(1, 0))};
  Tensor accumulated = signal.select(1, 0);
  for (int64_t t = 1; t < signal.size(1); ++t) {
    before.push_back(accumulated);
    accumulated = at::lerp(signal.select(1, t), accumulated, decay);
  }
  return at::stack(before, 1);
}

// 1 - (1 - h)(1 - s), written without cancellation at small h and s.
Tensor fuse(const Tensor& history, const Tensor& signal) { return history + (1.0 - history) * signal; }

// A weight `bounded` of the x0 error, as a weight of the error in `space`; `full` is the SNR before the bound.
Tensor in_space(Space space, const Tensor& bounded, const Tensor& full) {
  switch (space) {
    case Space::eps:
      return bounded / full;
    case Space::x0:
      return bounded;
    case Space::v:
      return bounded / (full + 1.0);
  }
  throw Error("loss: unknown space");
}

}  // namespace

Tensor loss_weight(LossWeight kind, Space space, const Tensor& snr, double snr_clip, double decay) {
  const auto full = snr / snr_clip;          // [B, T] s
  const auto bounded = full.clamp_max(1.0);  // [B, T] s^
  switch (kind) {
    case LossWeight::uniform:
      return at::full_like(snr, 0.5 * snr_clip);
    case LossWeight::min_snr:
      return in_space(space, bounded * snr_clip, snr);
    case LossWeight::fused_snr: {
      const auto history = decay * accumulated_before(bounded, decay);
      return in_space(space, fuse(history, bounded) * snr_clip, fuse(history, full) * snr_clip);
    }
    case LossWeight::cumulative_snr: {
      const auto first = at::full_like(snr.slice(1, 0, 1), 0.5 * snr_clip);
      return at::cat({first, accumulated_before(bounded, decay).slice(1, 1) * snr_clip}, 1);
    }
  }
  throw Error("loss: unknown weight");
}

}  // namespace df
