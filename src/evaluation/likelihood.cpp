// SPDX-License-Identifier: MIT
#include "diffusion_forcing/evaluation/likelihood.hpp"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <cmath>
#include <numbers>

#include "diffusion/clean_history.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/sampling/scheduling_matrix.hpp"

namespace df {

namespace {

// Noise of a level, clamped as in training.
Tensor noise_like(const Tensor& x0, const Diffusion& diffusion, uint64_t seed, int64_t level) {
  const double clip = diffusion.config.clip_noise;
  return seeded_normal(x0.sizes().vec(), derive_seed(seed, Stream::validation, static_cast<uint64_t>(level)))
      .clamp(-clip, clip)
      .to(x0.device());
}

// [B, T, token...] -> [B] sums in float64.
Tensor total(const Tensor& values) { return values.to(at::kDouble).flatten(1).sum(1).to(at::kCPU); }

// z [B, T, latent...] of each token shown at the history level: what later ones are predicted after.
Tensor history_of(CausalModel& model, const Diffusion& diffusion, int64_t level, const LossInput& input, uint64_t seed) {
  const auto k = at::full({input.x0.size(0), input.x0.size(1)}, level, input.x0.options().dtype(at::kLong));
  // Index K + 1 is no level of the ladder: the history's noise is its own.
  const auto eps = noise_like(input.x0, diffusion, seed, diffusion.schedule.levels() + 1);
  return model.unroll(add_noise(diffusion.schedule, input.x0, k, eps), k, input.c, input.z).z;
}

}  // namespace

Tensor Likelihood::nats() const { return prior + posterior + diffusion.sum(1); }

Tensor Likelihood::bits_per_element(double std) const {
  return nats() / (static_cast<double>(elements) * std::numbers::ln2) + std::log2(255.0 * std);
}

Likelihood likelihood(CausalModel& model, const Diffusion& diffusion, const LikelihoodConfig& config, const LossInput& input,
                      uint64_t seed) {
  const int64_t levels = diffusion.schedule.levels();
  if (config.history_level < 0 || config.history_level > levels)
    throw Error(fmt::format("likelihood: history level: expected 0 to {}, got {}", levels, config.history_level));
  const at::NoGradGuard no_grad;
  const auto rungs = ladder(levels, config.steps);
  const auto& x0 = input.x0;
  const int64_t batch = x0.size(0), tokens = x0.size(1);
  const auto history = history_of(model, diffusion, config.history_level, input, seed);
  const auto snr_of = [&](int64_t level) { return diffusion.schedule.snr[level].item<double>(); };

  Likelihood out;
  out.elements = x0.numel() / batch;
  const auto elements = static_cast<double>(out.elements);
  std::vector<Tensor> x0_errors, eps_errors, steps;
  for (size_t i = 1; i < rungs.size(); ++i) {
    const int64_t level = rungs[i];
    const auto k = at::full({batch, tokens}, level, x0.options().dtype(at::kLong));
    const auto eps = noise_like(x0, diffusion, seed, level), x = add_noise(diffusion.schedule, x0, k, eps);
    const auto output = predict_after(model, x, k, input.c, input.z, history);
    const auto guess = decode(diffusion.config.output, diffusion.schedule, x, k, output, diffusion.config.clip_noise);
    const auto x0_error = total((guess.x0 - x0).square()), eps_error = total((guess.eps - eps).square());
    const double snr = snr_of(level);
    x0_errors.push_back(x0_error / elements);
    eps_errors.push_back(eps_error / elements);
    steps.push_back(i == 1 ? at::zeros_like(x0_error) : 0.5 * (snr_of(rungs[i - 1]) - snr) * x0_error);
    // The lowest step ends in N(x0 guess, 1 / SNR): the width of what one noisy look leaves open.
    if (i == 1) out.posterior = 0.5 * (snr * x0_error + elements * std::log(2.0 * std::numbers::pi / snr));
    out.levels.push_back(rungs[i]);
  }
  out.x0_error = at::stack(x0_errors, 1);
  out.eps_error = at::stack(eps_errors, 1);
  out.diffusion = at::stack(steps, 1);
  const double a = diffusion.schedule.alpha_bar[levels].item<double>();
  out.prior = 0.5 * (a * total(x0.square()) - elements * (a + std::log1p(-a)));
  return out;
}

}  // namespace df
