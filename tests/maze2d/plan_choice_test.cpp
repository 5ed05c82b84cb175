// SPDX-License-Identifier: MIT
// Which of its candidates a planner follows: the leap into a plan counts, and the plan followed so far may be kept.
#include <ATen/ATen.h>

#include <vector>

#include "maze2d/tiny_planner.hpp"
#include "support/support.hpp"

namespace df {
namespace {

using test::close;
using test::identical;
using test::planner_config;
using test::situation;
using test::TinyPlanner;

// [B, F, 6] float32, as rewards see them.
Tensor frames_of(const Trajectory& plan) { return at::cat({plan.observations, plan.actions}, 2).to(at::kFloat); }

Tensor behind_present(const Tensor& frames, const Tensor& states) {
  return at::cat({at::constant_pad_nd(states.to(at::kFloat), {0, 2}).unsqueeze(1), frames}, 1);
}

// Prefers the last of a world's candidates, and notes how many there were in all.
PlanReward last_candidate(std::vector<int64_t>& rows) {
  return [&rows](const Tensor& frames, const Tensor&) {
    rows.push_back(frames.size(0));
    return at::arange(frames.size(0), frames.options());
  };
}

}  // namespace

TEST(PlanChoice, TheLeapIntoThePlanCounts) {
  const TinyPlanner tiny;
  const Situation s = situation(6);
  ForcingPlannerConfig config = planner_config();
  config.horizon = 5;
  config.candidates = 8;
  Tensor candidates;  // [48, 5, 6]
  const auto shown = tiny.make(config, [&](const Tensor& frames, const Tensor&) {
    candidates = frames.clone();
    return at::zeros({frames.size(0)});
  });
  shown->start(6, 7, 0);
  shown->act(s);
  config.choice = {.distance = 0, .dynamics = 1};
  const auto policy = tiny.make(config);
  policy->start(6, 7, 0);
  const Trajectory plan = policy->act(s).plan;
  const PlanReward leaps = make_plan_reward(config.choice);
  const auto winners = [&](const Tensor& frames) { return leaps(frames, at::zeros({48, 2})).view({6, 8}).argmax(1); };
  const Tensor with = winners(behind_present(candidates, s.now.state.repeat_interleave(8, 0))), without = winners(candidates);
  EXPECT_FALSE(at::equal(with, without));
  for (int64_t b = 0; b < 6; ++b) EXPECT_TRUE(close(frames_of(plan)[b], candidates[8 * b + with[b].item<int64_t>()], 1e-6)) << b;
}

// The world follows its plan exactly, so that the rest of the plan is worth what it was.
TEST(PlanChoice, KeptPlansAreGivenUpForBetterOnesAlone) {
  const TinyPlanner tiny;
  ForcingPlannerConfig config = planner_config();
  config.horizon = 0;
  config.choice = {.distance = 1, .dynamics = 1e-4};
  const PlanReward choice = make_plan_reward(config.choice);
  const auto falls = [&](bool keep) {
    config.keep = keep;
    const auto policy = tiny.make(config);
    policy->start(4, 7, 0);
    Situation s = situation(4, 60);
    Tensor rest;
    int64_t count = 0, kept = 0;
    for (; s.steps_left > 0; s.steps_left -= 10) {
      const Trajectory plan = policy->act(s).plan;
      const auto value = [&](const Tensor& frames) { return choice(behind_present(frames, s.now.state), s.now.goal.to(at::kFloat)); };
      const Tensor frames = frames_of(plan);
      if (rest.defined()) {
        count += (value(frames) < value(rest) - 1e-3 * value(rest).abs()).sum().item<int64_t>();
        kept += ((frames - rest).abs().amax({1, 2}) == 0).sum().item<int64_t>();
      }
      rest = frames.slice(1, 10);
      s.now.state = plan.observations.select(1, 9);
    }
    EXPECT_EQ(kept > 0, keep);
    EXPECT_LT(kept, 20);  // of 4 worlds x 5 plans
    return count;
  };
  EXPECT_EQ(falls(true), 0);
  EXPECT_GT(falls(false), 0);
}

TEST(PlanChoice, KeptPlansThatAreTooShortEndAsTheyDid) {
  const TinyPlanner tiny;
  for (const int64_t candidates : {1, 3}) {
    std::vector<int64_t> rows;
    ForcingPlannerConfig config = planner_config();
    config.candidates = candidates;
    config.keep = true;
    const auto policy = tiny.make(config, last_candidate(rows));
    policy->start(2, 7, 0);
    const Tensor first = frames_of(policy->act(situation(2)).plan), second = frames_of(policy->act(situation(2)).plan);
    const Tensor last = first.narrow(1, 25, 5);
    EXPECT_TRUE(identical(second, at::cat({first.narrow(1, 10, 20), last, last}, 1)));
    // Near the episode's end plans are shorter than what is left of the last one.
    EXPECT_TRUE(identical(frames_of(policy->act(situation(2, 8)).plan), second.narrow(1, 10, 10)));
    EXPECT_EQ(rows.back(), 2 * (candidates + 1));
    // Another episode knows nothing of this one.
    policy->start(2, 7, 0);
    EXPECT_TRUE(identical(frames_of(policy->act(situation(2)).plan), first));
  }
}

TEST(PlanChoice, PlansThatAreUsedUpAreNotKept) {
  const TinyPlanner tiny;
  std::vector<int64_t> rows;
  ForcingPlannerConfig config = planner_config();
  config.candidates = 2;
  config.keep = true;
  config.open_loop = 30;
  const auto policy = tiny.make(config, last_candidate(rows));
  policy->start(2, 7, 0);
  policy->act(situation(2));
  policy->act(situation(2));
  EXPECT_EQ(rows, (std::vector<int64_t>{4, 4}));
}

}  // namespace df
