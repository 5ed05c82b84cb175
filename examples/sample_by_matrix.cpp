// SPDX-License-Identifier: MIT
// Samples from a trained model by a matrix, in full: the C++ of the README, after scripts/quickstart.sh.
#include <ATen/ATen.h>

#include <cstdio>
#include <diffusion_forcing/diffusion_forcing.hpp>

int main() {
  const at::NoGradGuard no_grad;
  df::TrainedModel trained = df::load_trained("runs/quickstart", {}, "cpu");

  // A matrix of noise levels is a program: compile it, then run it.
  auto matrix = df::make_matrix(df::MatrixKind::pyramid, /*tokens=*/9, df::ladder(/*levels=*/1000, /*steps=*/50), /*slope=*/1.0);
  // 450 model evaluations in 66 batched calls; a loop over rows and tokens would run 522.
  df::Plan plan = df::compile(matrix, {});

  df::SampleInput input;
  input.x = df::seeded_normal(df::shape({1, 9}, trained.model->token_shape()), /*seed=*/1);
  input.z = trained.model->initial_latent(1, {});
  df::SampleOutput video = df::sample(*trained.model, trained.diffusion, plan, {}, input);

  std::printf("%lld model evaluations in %zu batched calls; a loop over rows and tokens would run %lld\n",
              static_cast<long long>(plan.cells()), plan.steps.size(), static_cast<long long>(plan.naive_cells()));
  const bool finite = video.x.isfinite().all().item<bool>();
  return finite && video.x.size(1) == 9 ? 0 : 1;
}
