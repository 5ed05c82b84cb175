// SPDX-License-Identifier: MIT
// What a planner refuses: rewards of the wrong kind, and settings, by their keys.
#include <ATen/ATen.h>

#include <cmath>
#include <limits>
#include <string>

#include "maze2d/tiny_planner.hpp"
#include "support/support.hpp"

namespace df {

using test::error_of;
using test::first_plan;
using test::planner_config;
using test::situation;
using test::TinyPlanner;

TEST(ForcingPlanner, BadRewardsAreErrors) {
  const TinyPlanner tiny;
  const auto error = [&](const ForcingPlannerConfig& some, const PlanReward& reward) {
    return error_of([&] { first_plan(*tiny.make(some, reward), situation(2)); });
  };
  ForcingPlannerConfig chosen = planner_config();
  chosen.candidates = 3;
  const PlanReward by_frame = [](const Tensor& frames, const Tensor&) { return frames.select(2, 0); };
  EXPECT_EQ(error(planner_config(1), by_frame), "planning.reward: expected shape [2], got [2, 30]");
  EXPECT_EQ(error(chosen, by_frame), "planning.choice: expected shape [6], got [6, 30]");
  const PlanReward nan = [](const Tensor& frames, const Tensor&) { return (frames - frames).log().sum({1, 2}) * 0; };
  EXPECT_EQ(error(planner_config(1), nan), "reward: expected finite values, got NaN or infinity");
  EXPECT_EQ(error(chosen, nan), "planning.choice: expected finite values, got NaN or infinity");
  EXPECT_EQ(error(planner_config(1), [](const Tensor&, const Tensor&) { return Tensor(); }),
            "planning.reward: expected shape [2], got an undefined tensor");
  EXPECT_EQ(error(planner_config(1), [](const Tensor& frames, const Tensor&) { return at::ones({frames.size(0)}); })
                .rfind("reward: expected a value that depends on the tokens differentiably, got a constant", 0),
            0u);
}

TEST(ForcingPlanner, ErrorsNameKeyExpectedAndGot) {
  TinyPlanner tiny;
  const auto says = [&](auto change, const std::string& expected) {
    ForcingPlannerConfig bad = planner_config();
    change(bad);
    EXPECT_EQ(error_of([&] { tiny.make(bad); }), expected);
  };
  using C = ForcingPlannerConfig;
  says([](C& c) { c.horizon = 32; }, "planning.horizon: expected 0 or a multiple of data.frame_stack 5, got 32");
  says([](C& c) { c.horizon = -5; }, "planning.horizon: expected 0 or a multiple of data.frame_stack 5, got -5");
  says([](C& c) { c.open_loop = 0; }, "planning.open_loop: expected at least 1, got 0");
  says([](C& c) { c.candidates = 0; }, "planning.candidates: expected at least 1, got 0");
  says([](C& c) { c.warm_start = 21; }, "planning.warm_start: expected 0 to 20 (diffusion.levels), got 21");
  says([](C& c) { c.warm_start = -1; }, "planning.warm_start: expected 0 to 20 (diffusion.levels), got -1");
  says([](C& c) { c.warm_start = 3, c.open_loop = 7; },
       "planning.open_loop: expected a multiple of data.frame_stack 5 with a warm start, which shifts whole tokens, got 7");
  says([](C& c) { c.candidates = 2, c.guidance.form = GuidanceForm::resample; },
       "planning.candidates: expected 1 with resampling, which chooses by itself, got 2");
  says([](C& c) { c.keep = true, c.open_loop = 7; },
       "planning.open_loop: expected a multiple of data.frame_stack 5 with keep, which shifts whole tokens, got 7");
  says([](C& c) { c.p = std::numeric_limits<double>::infinity(); }, "planning.p: expected a finite number, got inf");
  says([](C& c) { c.d = std::nan(""); }, "planning.d: expected a finite number, got nan");
  says([](C& c) { c.ahead = -1; }, "planning.ahead: expected at least 0, got -1");
  says([](C& c) { c.reward.learned = 2; },
       "planning.reward.learned: expected 0 for a model without predicted rewards (data.reward: false), got 2");
  says([](C& c) { c.choice.learned = 2; },
       "planning.choice.learned: expected 0 for a model without predicted rewards (data.reward: false), got 2");
  says([](C& c) { c.choice.action = std::nan(""); }, "planning.choice.action: expected a finite number, got nan");
  says([](C& c) { c.reward.dense = std::nan(""); }, "planning.reward.dense: expected a finite number, got nan");
  says([](C& c) { c.reward.length = 0; }, "planning.reward.length: expected metres above 0, got 0");
  says([](C& c) { c.reward.metric = PlanMetric::travel; },
       "planning.reward.metric: expected straight where there is no map of the ways that the data took, got travel");
  says([](C& c) { c.choice.metric = PlanMetric::travel; },
       "planning.choice.metric: expected straight where there is no map of the ways that the data took, got travel");
  says([](C& c) { c.guidance.scale = -1; }, "planning.guidance.scale: expected a number of at least 0, got -1");
  says([](C& c) { c.guidance.scale = std::nan(""); }, "planning.guidance.scale: expected a number of at least 0, got nan");
  says([](C& c) { c.guidance = {.branches = 2}; },
       "planning.guidance.lookahead: expected at least 2 with several branches, which are equal without chance, got 1");
  says([](C& c) { c.guidance = {.form = GuidanceForm::resample, .branches = 4}; },
       "planning.guidance.form: expected gradient, or resample with sampling.eta above 0 (copies must part), got resample with eta 0");
  says([](C& c) { c.guidance.scale = 1, c.reward = {.distance = 0, .sparse = 1}; },
       "planning.reward: expected a term other than sparse, which has no gradient to guide by (planning.guidance.form), got none");
  tiny.sampling.schedule = "mine.csv";
  says([](C&) {}, "sampling.schedule: expected full_sequence, autoregressive, pyramid, trapezoid for a planner, got 'mine.csv'");
  tiny.sampling.schedule = "pyramid";
  tiny.spec.token.token_shape = {3, 16, 16};
  says([](C&) {}, "planner: expected tokens of 5 frames of 6 numbers, got [3, 16, 16]");
  tiny.spec = TinyPlanner().spec;
  const auto policy = tiny.make(planner_config());
  EXPECT_EQ(error_of([&] { policy->act(situation(1)); }), "planner: expected the 0 worlds of start(), got 1");
  policy->start(2, 0, 0);
  EXPECT_EQ(error_of([&] { policy->act(situation(3)); }), "planner: expected the 2 worlds of start(), got 3");
}

}  // namespace df
