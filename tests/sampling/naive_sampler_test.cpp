// SPDX-License-Identifier: MIT
#include "sampling/naive_sampler.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <set>

namespace df::test {

namespace {

struct Naive {
  CausalModel& model;
  const Diffusion& diffusion;
  const SchedulingMatrix& matrix;
  const PlanPolicy& policy;
  const SamplerConfig& config;
  const SampleInput& input;
  std::vector<int32_t> ladder;
  std::vector<Tensor> x;
  std::vector<Tensor> last_z;  // of the call that finished the token

  // Returns the z of token t in row m, and moves x[t]. z: before the token.
  Tensor cell(int64_t m, int64_t t, const Tensor& z) {
    int32_t from = matrix.at(m, t), to = matrix.at(m + 1, t), shown = from;
    const bool reference = policy.unchanged == Unchanged::reference;
    const bool waits = reference && from == ladder.back();
    if (reference) {
      if (from == 0) from = ladder[1];
      to = *std::prev(std::find(ladder.begin(), ladder.end(), from));
      shown = from;
    } else if (from == 0) {
      if (policy.finished == Finished::last_call) return last_z[static_cast<size_t>(t)];
      shown = policy.stabilization;
    }
    Tensor& token = x[static_cast<size_t>(t)];
    const int64_t B = token.size(0);
    const auto levels = [&](int64_t k) { return at::full({B}, k, at::kLong); };
    const double sqrt_shown = diffusion.schedule.sqrt_alpha_bar[shown].item<double>();
    const double clip = diffusion.config.clip_noise;
    const Tensor shown_x = shown > from ? token * sqrt_shown : waits ? token.clamp(-clip, clip) : token;
    const TokenOutput output = model.step(shown_x, levels(shown), input.c.defined() ? input.c.select(1, t) : Tensor(), z);
    if (from == to && (from == 0 || policy.unchanged == Unchanged::hold)) return output.z;
    Denoised d = decode(diffusion.config.output, diffusion.schedule, shown_x, levels(shown), output.prediction, clip);
    if (config.clip_x0 > 0) {
      const double noise_share = diffusion.schedule.sqrt_one_minus_alpha_bar[shown].item<double>();
      d.x0 = d.x0.clamp(-config.clip_x0, config.clip_x0);
      d.eps = noise_share > 0 ? (shown_x - sqrt_shown * d.x0) / noise_share : at::zeros_like(shown_x);
    }
    Tensor noise;
    if (input.noise)
      noise = input.noise({Cell{static_cast<int32_t>(m), static_cast<int32_t>(t), shown, from, to, CellKind::update}})
                  .select(1, 0)
                  .clamp(-clip, clip);
    if (from == to)
      token = add_noise(diffusion.schedule, d.x0, levels(from), noise);
    else
      token = transition(transition_coefficients(config.solver, diffusion.schedule, levels(from), levels(to), config.eta, token), d, noise);
    if (to == 0) last_z[static_cast<size_t>(t)] = output.z;
    return output.z;
  }
};

}  // namespace

NaiveResult naive_sample(CausalModel& model, const Diffusion& diffusion, const SchedulingMatrix& matrix, const PlanPolicy& policy,
                         const SamplerConfig& config, const SampleInput& input) {
  const c10::NoGradGuard no_grad;
  const std::set<int32_t> levels(matrix.level.begin(), matrix.level.end());
  Naive naive{model, diffusion, matrix, policy, config, input, {levels.begin(), levels.end()}, {}, {}};
  for (int64_t t = 0; t < matrix.tokens; ++t) naive.x.push_back(input.x.select(1, t));
  naive.last_z.resize(naive.x.size());
  NaiveResult result;
  for (int64_t m = 0; m + 1 < matrix.rows; ++m) {
    Tensor z = input.z;
    for (int64_t t = 0; t < matrix.tokens; ++t, ++result.calls) z = model.latent_after(z, naive.cell(m, t, z).unsqueeze(1));
    result.z = z;
    result.rows.push_back(at::stack(naive.x, 1));
  }
  result.x = at::stack(naive.x, 1);
  return result;
}

}  // namespace df::test
