// SPDX-License-Identifier: MIT
// Weight of each token in the loss from the signal-to-noise ratios of the token and of its history.
#pragma once

#include <cstdint>

#include "diffusion_forcing/core/enum_names.hpp"
#include "diffusion_forcing/core/tensor.hpp"

namespace df {

enum class Space;

enum class LossWeight {
  uniform,         // snr_clip / 2 for every token
  min_snr,         // min(SNR, snr_clip), converted to the loss space (Hang et al. 2023)
  fused_snr,       // min-SNR fused with the SNR that the history still carries (Chen et al. 2024, appendix B)
  cumulative_snr,  // the history's SNR alone, for tokens that have a history
};
template <>
struct EnumNames<LossWeight> {
  static constexpr std::pair<std::string_view, LossWeight> table[] = {{"uniform", LossWeight::uniform},
                                                                      {"min_snr", LossWeight::min_snr},
                                                                      {"fused_snr", LossWeight::fused_snr},
                                                                      {"cumulative_snr", LossWeight::cumulative_snr}};
};

// snr [B, T] of the tokens (finite: levels 1..K) -> weight [B, T] for a squared error measured in `space`.
// decay is per token: snr_decay to the power of the frame stack.
//
// With s = SNR / clip, s^ = min(s, 1) and the history's C_1 = s^_1, C_t = decay C_{t-1} + (1 - decay) s^_t, h_t = decay C_{t-1} (h_1 = 0):
//   min_snr     f^ = s^,                   f = s
//   fused_snr   f^ = 1 - (1 - h)(1 - s^),  f = 1 - (1 - h)(1 - s)
// and the weight is f^ / f for eps, clip f^ for x0, clip f^ / (clip f + 1) for v.
// cumulative_snr is clip C_{t-1}, and clip / 2 for the first token; it and uniform are the same in every space.
Tensor loss_weight(LossWeight kind, Space space, const Tensor& snr, double snr_clip, double decay);

}  // namespace df
