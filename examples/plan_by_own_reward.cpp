// SPDX-License-Identifier: MIT
// Plans in a maze by a reward of one's own, from the repository's root: reach the goal, but slowly.
#include <ATen/ATen.h>

#include <cstdio>
#include <diffusion_forcing/diffusion_forcing.hpp>

int main() {
  df::TrainedModel trained = df::load_trained("assets/maze2d_umaze/model.safetensors", {}, "cpu");

  // Any differentiable function of the planned frames (x, y, vx, vy, ax, ay) will do.
  df::PlanReward slowly = [](const at::Tensor& frames, const at::Tensor& goals) {
    const at::Tensor distance = (frames.narrow(2, 0, 2) - goals.unsqueeze(1)).square().sum(2).add(1e-6).sqrt();
    return distance.neg().exp().sum(1) - 0.02 * frames.narrow(2, 2, 2).square().sum({1, 2});
  };
  df::ForcingPlannerConfig config;
  config.horizon = 100;
  config.guidance.scale = 50;
  config.guidance.coefficient = df::GuidanceCoefficient::released;
  auto planner = df::make_forcing_planner(config, {*trained.model, trained.diffusion, trained.spec, trained.config.sampling}, slowly);

  planner->start(/*worlds=*/1, /*seed=*/0, /*first_world=*/0);
  const at::Tensor state = at::tensor({1.0, 2.0, 0.0, 0.0}, at::kDouble).unsqueeze(0),
                   goal = at::tensor({1.0, 1.0}, at::kDouble).unsqueeze(0);
  const df::Decision decision = planner->act({{.state = state, .goal = goal}, /*step=*/0, /*steps_left=*/100});

  const at::Tensor last = decision.plan.observations[0][-1];
  std::printf("planned %lld frames in %.1f s; the last one is at (%.2f, %.2f)\n",
              static_cast<long long>(decision.plan.observations.size(1)), decision.planning_seconds, last[0].item<double>(),
              last[1].item<double>());
  return decision.plan.observations.isfinite().all().item<bool>() ? 0 : 1;
}
