// SPDX-License-Identifier: MIT
// The tracking law, and that it really follows a drive that the world can make.
#include "maze2d/tracking.hpp"

#include <ATen/ATen.h>

#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/maze2d/maze2d_batch.hpp"
#include "support/support.hpp"

namespace df {

TEST(Tracking, IsProportionalAndDerivativeAndClipped) {
  const Tensor targets = at::tensor({1.0, 2.0, 0.5, -0.5, 9.0, -9.0, 0.0, 0.0}, at::kDouble).view({1, 2, 4}).repeat({2, 1, 1});
  TrackedPlan plan(targets, 2.0, 0.25);
  const Tensor states = at::tensor({0.75, 1.9, 0.0, 0.0, 0.5, 2.25, 1.0, 1.0}, at::kDouble).view({2, 4});
  EXPECT_FALSE(plan.finished());
  const Tensor first = plan.act(states);
  // p (x' - x) + d (v' - v): .5 + .125, .2 - .125; 1 - .125, -.5 - .375.
  EXPECT_TRUE(test::close(first, at::tensor({0.625, 0.075, 0.875, -0.875}, at::kDouble).view({2, 1, 2}), 1e-12));
  EXPECT_FALSE(plan.finished());
  EXPECT_TRUE(test::identical(plan.act(states), at::tensor({1.0, -1.0, 1.0, -1.0}, at::kDouble).view({2, 1, 2})));
  EXPECT_TRUE(plan.finished());
}

TEST(Tracking, AimsAheadAsFarAsThePlanGoes) {
  const Tensor targets = seeded_normal({2, 5, 4}, 1).to(at::kDouble), states = seeded_normal({2, 4}, 2).to(at::kDouble);
  TrackedPlan plan(targets, 0.1, 0.05, 4, 2);
  for (const int64_t aim : {2, 3, 4, 4}) {
    ASSERT_FALSE(plan.finished());
    EXPECT_TRUE(test::identical(plan.act(states), TrackedPlan(targets.narrow(1, aim, 1), 0.1, 0.05).act(states))) << aim;
  }
  EXPECT_TRUE(plan.finished());
}

// A drive of the world itself, started elsewhere: tracking brings the ball onto it.
TEST(Tracking, ClosesInOnADrive) {
  Maze2dBatch drive(maze2d_layout("umaze"), 1), follower(maze2d_layout("umaze"), 1);
  const Tensor start = at::tensor({3.0, 1.0, 0.0, 0.0}, at::kDouble).view({1, 4});
  drive.set_states(start);
  follower.set_states(start + at::tensor({0.1, 0.1, 0.0, 0.0}, at::kDouble));
  std::vector<Tensor> targets;
  for (int64_t t = 0; t < 80; ++t) {
    drive.run(at::tensor({0.0, t < 40 ? 0.3 : -0.3}, at::kDouble).view({1, 1, 2}));
    targets.push_back(drive.states().clone());
  }
  TrackedPlan plan(at::stack(targets, 1), 10.0, 1.0);
  while (!plan.finished()) follower.run(plan.act(follower.states()));
  EXPECT_LT((follower.states() - targets.back()).narrow(1, 0, 2).abs().max().item<double>(), 0.03);
}

}  // namespace df
