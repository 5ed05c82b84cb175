// SPDX-License-Identifier: MIT
// Plans guided along the data's ways, from rows that a device replays: goals change under the recordings.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <vector>

#include "cuda/on_device.hpp"
#include "diffusion_forcing/core/accelerator.hpp"
#include "maze2d/tiny_planner.hpp"
#include "support/support.hpp"

namespace df::test {
namespace {

// Of two worlds, for one pair of goals and for another, by one planner.
std::vector<Tensor> plans_on(at::Device device) {
  TinyPlanner tiny;
  tiny.model->to(device);
  for (auto& parameter : tiny.model->parameters()) parameter.requires_grad_(false);
  tiny.diffusion = tiny.diffusion.to(device);
  tiny.travel = std::make_shared<TravelMap>(around_a_wall());
  ForcingPlannerConfig config;
  config.horizon = 30;
  config.guidance.scale = 1;
  config.reward.metric = PlanMetric::travel;
  const auto policy = tiny.make(config);
  std::vector<Tensor> plans;
  Situation s = situation(2);
  s.now.goal = at::tensor({0.5, 0.5, 2.5, 0.5}, at::kDouble).view({2, 2});
  for (int64_t i = 0; i < 2; ++i) {
    policy->start(2, 7, 0);
    plans.push_back(policy->act(s).plan.observations);
    s.now.goal = s.now.goal.flip(0);
  }
  return plans;
}

TEST(TravelPlanner, RecordedGivesThePlansOfTheCpu) {
  const auto* cuda = cuda_or_null();
  if (!cuda) GTEST_SKIP() << "no CUDA device";
  const auto expected = plans_on(at::kCPU), recorded = plans_on(cuda->device());
  EXPECT_GT((expected[0] - expected[1]).abs().max().item<double>(), 0.1);
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_LT(relative_distance(recorded[i], expected[i]), 2e-2) << i;  // TF32 there
}

}  // namespace
}  // namespace df::test
