// SPDX-License-Identifier: MIT
// A scheduling matrix of one's own: the first half of the tokens is denoised before the second half starts. Prints what its plan costs and
// samples from it with a small untrained network.
#include <ATen/ATen.h>

#include <algorithm>
#include <cstdio>
#include <vector>

#include "diffusion_forcing/config/roles.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/diffusion/diffusion.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/models/mlp_gru.hpp"
#include "diffusion_forcing/sampling/plan.hpp"
#include "diffusion_forcing/sampling/sampler.hpp"
#include "diffusion_forcing/sampling/scheduling_matrix.hpp"

int main() {
  const int64_t levels = 100, steps = 10, tokens = 6;

  const std::vector<int32_t> rungs = df::ladder(levels, steps);  // levels that each token visits, rising from 0 to K
  df::SchedulingMatrix matrix{2 * steps + 1, tokens, {}};
  for (int64_t m = 0; m <= 2 * steps; ++m)
    for (int64_t t = 0; t < tokens; ++t) {
      const int64_t done = t < tokens / 2 ? m : m - steps;  // steps that token t has behind it in row m
      matrix.level.push_back(rungs[static_cast<size_t>(steps - std::min(steps, std::max<int64_t>(0, done)))]);
    }
  df::validate(matrix, levels, "halves");

  const df::Plan plan = df::compile(matrix, {});
  std::printf("%lld model evaluations in %zu batched calls; a loop over rows and tokens would make %lld\n",
              static_cast<long long>(plan.cells()), plan.steps.size(), static_cast<long long>(plan.naive_cells()));

  df::DiffusionConfig config;
  config.levels = levels;
  const df::Diffusion diffusion = df::make_diffusion(config);
  df::MlpGruConfig network;
  network.width = 4;
  network.latent = 16;
  df::TokenSpec token;
  token.token_shape = {3};
  const auto model = df::make_model(network, token, /*seed=*/0);
  model->eval();

  const at::NoGradGuard no_grad;
  df::SampleInput input;
  input.x = df::seeded_normal({2, tokens, 3}, /*seed=*/1);
  input.z = model->initial_latent(2, {});
  const df::SampleOutput output = df::sample(*model, diffusion, plan, {}, input);
  const bool finite = output.x.isfinite().all().item<bool>();
  std::printf("two sequences of %lld tokens, %s\n", static_cast<long long>(output.x.size(1)), finite ? "finite" : "NOT finite");
  return finite ? 0 : 1;
}
