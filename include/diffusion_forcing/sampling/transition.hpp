// SPDX-License-Identifier: MIT
// One move of noisy tokens between two levels: DDIM with eta (Song et al. 2021, eq. 12) and DDPM (Ho et al. 2020, eq. 6-7).
#pragma once

#include "diffusion_forcing/core/enum_names.hpp"
#include "diffusion_forcing/core/tensor.hpp"
#include "diffusion_forcing/diffusion/diffusion.hpp"

namespace df {

enum class Solver { ddim, ddpm };
template <>
struct EnumNames<Solver> {
  static constexpr std::pair<std::string_view, Solver> table[] = {{"ddim", Solver::ddim}, {"ddpm", Solver::ddpm}};
};

// x' = mean_x0 * x0 + mean_eps * eps + sigma * noise; each [N, 1, ...] against `like` [N, token...].
struct TransitionCoefficients {
  Tensor x0, eps, sigma;
};
// from, to: int64 [N], to <= from. eta >= 0 scales DDIM's sigma = eta sqrt((1 - a_from / a_to) (1 - a_to) / (1 - a_from)); ddpm is the
// ancestral posterior between any two levels (equal to DDIM with eta = 1). from == to == 0 gives x' = x0.
TransitionCoefficients transition_coefficients(Solver solver, const NoiseSchedule& schedule, const Tensor& from, const Tensor& to,
                                               double eta, const Tensor& like);

// noise [N, token...] may be undefined where sigma is 0 throughout (ddim with eta = 0).
Tensor transition(const TransitionCoefficients& coefficients, const Denoised& denoised, const Tensor& noise);

}  // namespace df
