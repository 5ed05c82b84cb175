// SPDX-License-Identifier: MIT
// What plans are made of: seeds, horizons, warm starts, candidates, rewards. The models are random, so nothing here is about skill.
#include "diffusion_forcing/maze2d/forcing_planner.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "maze2d/tiny_planner.hpp"
#include "support/support.hpp"

namespace df {
namespace {

using test::close;
using test::first_plan;
using test::identical;
using test::planner_config;
using test::situation;
using test::TinyPlanner;

// [B, F] distance to the goal.
Tensor distance(const Trajectory& plan, const Situation& s) {
  return (plan.observations.narrow(2, 0, 2) - s.now.goal.unsqueeze(1)).square().sum(2).sqrt();
}

Trajectory row(const Trajectory& plan, int64_t b) { return {plan.observations.narrow(0, b, 1), plan.actions.narrow(0, b, 1)}; }

void expect_close(const Trajectory& a, const Trajectory& b, double tolerance = 1e-5) {
  EXPECT_TRUE(close(a.observations, b.observations, tolerance));
  EXPECT_TRUE(close(a.actions, b.actions, tolerance));
}

}  // namespace

TEST(ForcingPlanner, FollowsFromTheSeedAndTheSituation) {
  const TinyPlanner tiny;
  for (const double scale : {0.0, 1.0}) {
    const auto policy = tiny.make(planner_config(scale)), again = tiny.make(planner_config(scale));
    const Trajectory plan = first_plan(*policy, situation(2));
    EXPECT_EQ(plan.observations.sizes(), (at::IntArrayRef{2, 30, 4}));
    EXPECT_EQ(plan.actions.sizes(), (at::IntArrayRef{2, 30, 2}));
    EXPECT_EQ(plan.actions.scalar_type(), at::kDouble);
    EXPECT_TRUE(identical(first_plan(*again, situation(2)).observations, plan.observations));
    EXPECT_TRUE(identical(first_plan(*policy, situation(2)).observations, plan.observations));  // start() forgets
    EXPECT_FALSE(close(policy->act(situation(2)).plan.observations, plan.observations, 1e-3));  // the next plan has other noise
    EXPECT_FALSE(close(first_plan(*policy, situation(2), 8).observations, plan.observations, 1e-3));
    Situation moved = situation(2);
    moved.now.state.select(1, 0).add_(1);
    EXPECT_FALSE(close(first_plan(*policy, moved).observations, plan.observations, 1e-5));  // plans start where the world is
  }
}

TEST(ForcingPlanner, WorldsDoNotSeeEachOther) {
  TinyPlanner tiny;
  for (const Solver solver : {Solver::ddim, Solver::ddpm})
    for (const double scale : {0.0, 1.0}) {
      tiny.sampling.sampler.solver = solver;
      ForcingPlannerConfig two = planner_config(scale);
      two.candidates = 2;
      const Situation all = situation(3);
      Situation one = all;
      one.now.state = all.now.state.narrow(0, 1, 1);
      one.now.goal = all.now.goal.narrow(0, 1, 1);
      expect_close(first_plan(*tiny.make(two), one, 7, 11), row(first_plan(*tiny.make(two), all, 7, 10), 1));
    }
}

TEST(ForcingPlanner, HorizonsEndWithTheEpisode) {
  const TinyPlanner tiny;
  const auto frames = [&](int64_t horizon, int64_t steps_left) {
    ForcingPlannerConfig some = planner_config();
    some.horizon = horizon;
    return first_plan(*tiny.make(some), situation(1, steps_left)).observations.size(1);
  };
  EXPECT_EQ(frames(30, 100), 30);
  EXPECT_EQ(frames(30, 12), 15);
  EXPECT_EQ(frames(0, 40), 40);
  EXPECT_EQ(frames(0, 1), 5);
}

TEST(ForcingPlanner, PlannedActionsAreExecutedOpenLoop) {
  const TinyPlanner tiny;
  const auto policy = tiny.make(planner_config());
  policy->start(2, 7, 0);
  const Decision decision = policy->act(situation(2));
  EXPECT_TRUE(identical(decision.actions, decision.plan.actions.narrow(1, 0, 10).clamp(-1, 1)));
  EXPECT_GT(decision.planning_seconds, 0);
  policy->start(2, 7, 0);
  EXPECT_EQ(policy->act(situation(2, 3)).actions.size(1), 5);  // no more than were planned
}

TEST(ForcingPlanner, TrackingFollowsThePlanStepByStep) {
  const TinyPlanner tiny;
  ForcingPlannerConfig tracking = planner_config();
  tracking.execution = Execution::tracking;
  tracking.open_loop = 3;
  tracking.p = 0.5;
  tracking.d = 0.25;
  const auto policy = tiny.make(tracking);
  policy->start(2, 7, 0);
  Tensor targets;
  for (int64_t step = 0; step < 7; ++step) {
    Situation present = situation(2, 100 - step);
    present.now.state.select(1, 0).add_(0.01 * static_cast<double>(step));
    const Decision decision = policy->act(present);
    EXPECT_EQ(decision.plan.observations.defined(), step % 3 == 0) << step;
    EXPECT_EQ(decision.planning_seconds > 0, step % 3 == 0) << step;
    if (step % 3 == 0) targets = decision.plan.observations;
    const Tensor error = targets.select(1, step % 3) - present.now.state;
    const Tensor law = (0.5 * error.narrow(1, 0, 2) + 0.25 * error.narrow(1, 2, 2)).clamp(-1, 1);
    EXPECT_TRUE(close(decision.actions, law.unsqueeze(1), 1e-12)) << step;
  }
}

// Also beyond the steps that are executed of a plan.
TEST(ForcingPlanner, TrackingAimsAhead) {
  const TinyPlanner tiny;
  ForcingPlannerConfig tracking = planner_config();
  tracking.execution = Execution::tracking;
  tracking.open_loop = 3;
  tracking.p = 0.05;
  tracking.d = 0.02;
  for (const int64_t ahead : {0, 20, 28, 1000}) {
    tracking.ahead = ahead;
    const auto policy = tiny.make(tracking);
    policy->start(2, 7, 0);
    Tensor targets;
    for (int64_t step = 0; step < 3; ++step) {
      const Situation present = situation(2, 100 - step);
      const Decision decision = policy->act(present);
      if (step == 0) targets = decision.plan.observations;
      const Tensor error = targets.select(1, std::min<int64_t>(step + ahead, 29)) - present.now.state;
      const Tensor law = 0.05 * error.narrow(1, 0, 2) + 0.02 * error.narrow(1, 2, 2);
      EXPECT_TRUE(close(decision.actions, law.clamp(-1, 1).unsqueeze(1), 1e-12)) << ahead << " " << step;
    }
    EXPECT_TRUE(policy->act(situation(2, 97)).plan.observations.defined());
  }
}

TEST(ForcingPlanner, GuidanceMovesPlansToTheGoal) {
  TinyPlanner tiny;
  const Situation s = situation(4);
  for (const char* schedule : {"pyramid", "full_sequence", "autoregressive", "trapezoid"}) {
    tiny.sampling.schedule = schedule;
    const double free = distance(first_plan(*tiny.make(planner_config()), s), s).mean().item<double>();
    const double pulled = distance(first_plan(*tiny.make(planner_config(0.5)), s), s).mean().item<double>();
    EXPECT_LT(pulled, 0.9 * free) << schedule;
    EXPECT_LT(distance(first_plan(*tiny.make(planner_config(2)), s), s).mean().item<double>(), 0.9 * pulled) << schedule;
  }
  // Branches, whose futures are drawn, do the same.
  tiny.sampling.schedule = "pyramid";
  ForcingPlannerConfig branching = planner_config(2);
  branching.guidance.branches = 3;
  branching.guidance.lookahead = 2;
  const double free = distance(first_plan(*tiny.make(planner_config()), s), s).mean().item<double>();
  EXPECT_LT(distance(first_plan(*tiny.make(branching), s), s).mean().item<double>(), 0.9 * free);
}

// The sampler is kept from plan to plan; the goals are those of the call.
TEST(ForcingPlanner, GoalsAreThoseOfTheSituation) {
  const TinyPlanner tiny;
  const auto policy = tiny.make(planner_config(1));
  const Situation one = situation(2);
  Situation other = situation(2);
  other.now.goal.fill_(-3);
  const Trajectory before = first_plan(*policy, one), after = first_plan(*policy, other);
  EXPECT_LT(distance(after, other).mean().item<double>(), distance(before, other).mean().item<double>());
  EXPECT_TRUE(identical(first_plan(*tiny.make(planner_config(1)), other).observations, after.observations));
}

// The maps are those of the goals of the call as well, a world's for all its candidates.
TEST(ForcingPlanner, MeasuresAlongTheDatasWays) {
  TinyPlanner tiny;
  tiny.travel = std::make_shared<TravelMap>(test::around_a_wall());
  ForcingPlannerConfig ways = planner_config(1);
  ways.candidates = 8;
  ways.reward.metric = PlanMetric::travel;
  ways.choice = {.distance = 1, .metric = PlanMetric::travel};
  Situation s = situation(3);
  s.now.state.select(1, 0).add_(1.2);
  s.now.goal = at::tensor({0.5, 0.5, 2.5, 0.5, 1.5, 2.5}, at::kDouble).view({3, 2});
  const auto policy = tiny.make(ways);
  const Trajectory plan = first_plan(*policy, s);
  EXPECT_TRUE(identical(first_plan(*tiny.make(ways), s).observations, plan.observations));
  for (const auto metric : {&ForcingPlannerConfig::reward, &ForcingPlannerConfig::choice}) {
    ForcingPlannerConfig straight = ways;
    (straight.*metric).metric = PlanMetric::straight;
    EXPECT_FALSE(close(first_plan(*tiny.make(straight), s).observations, plan.observations, 1e-3));
  }
  Situation other = s, one = s;
  other.now.goal = s.now.goal.flip(0);
  const Trajectory after = first_plan(*policy, other);
  EXPECT_TRUE(identical(first_plan(*tiny.make(ways), other).observations, after.observations));
  for (const int64_t b : {0, 1, 2}) {  // fewer worlds than before
    one.now.state = s.now.state.narrow(0, b, 1);
    one.now.goal = s.now.goal.narrow(0, b, 1);
    expect_close(first_plan(*policy, one, 7, b), row(plan, b));
  }
}

// The configured reward is taken apart (finished frames are left out), a given one is not: the plans are the same.
TEST(ForcingPlanner, GivenRewardsSeeWholePlans) {
  const TinyPlanner tiny;
  std::vector<int64_t> seen;
  const PlanReward given = [&, inner = make_plan_reward({})](const Tensor& frames, const Tensor& goals) {
    seen.push_back(frames.size(1));
    return inner(frames, goals);
  };
  expect_close(first_plan(*tiny.make(planner_config(1), given), situation(2)), first_plan(*tiny.make(planner_config(1)), situation(2)));
  EXPECT_EQ(seen, std::vector<int64_t>(10, 30));  // rows of the pyramid
  // Leaps between a finished and an unfinished frame count as well.
  ForcingPlannerConfig leaps = planner_config(0.01);
  leaps.reward = {.distance = 1, .dynamics = 0.01};
  expect_close(first_plan(*tiny.make(leaps, make_plan_reward(leaps.reward)), situation(2)), first_plan(*tiny.make(leaps), situation(2)));
}

TEST(ForcingPlanner, TheModelsOwnRewardGuides) {
  const TinyPlanner tiny(7);
  ForcingPlannerConfig learned = planner_config(4);
  learned.reward = {.distance = 0, .learned = 1};
  Tensor rewards;
  const PlanObserver last = [&](int64_t, const Tensor& frames) { rewards = frames.select(1, 6).clone(); };
  first_plan(*tiny.make(learned, {}, last), situation(1));
  const double guided = rewards.mean().item<double>();
  first_plan(*tiny.make(planner_config(), {}, last), situation(1));
  EXPECT_GT(guided, rewards.mean().item<double>() + 0.1);
}

TEST(ForcingPlanner, TheBestCandidateIsFollowed) {
  const TinyPlanner tiny;
  for (const double scale : {0.0, 1.0}) {
    Tensor frames, values;
    const PlanReward reward = [&, inner = make_plan_reward({})](const Tensor& f, const Tensor& goals) {
      const Tensor value = inner(f, goals);
      frames = f.detach().to(at::kDouble), values = value.detach();
      return value;
    };
    ForcingPlannerConfig some = planner_config(scale);
    some.candidates = 4;
    const Trajectory plan = first_plan(*tiny.make(some, reward), situation(3));
    ASSERT_EQ(values.sizes(), (at::IntArrayRef{12}));
    for (int64_t b = 0; b < 3; ++b) {
      const Tensor mine = values.narrow(0, 4 * b, 4);
      EXPECT_GT((mine.max() - mine.min()).item<double>(), 1e-3);  // candidates differ
      EXPECT_TRUE(identical(plan.observations[b], frames[4 * b + mine.argmax().item<int64_t>()].narrow(1, 0, 4))) << b;
    }
  }
}

TEST(ForcingPlanner, CandidatesAreChosenByTheirOwnReward) {
  const TinyPlanner tiny;
  const Situation s = situation(3);
  ForcingPlannerConfig some = planner_config();
  some.candidates = 8;
  some.choice = {.distance = 1};
  const double nearest = distance(first_plan(*tiny.make(some), s), s).sum(1).max().item<double>();
  some.choice = {.distance = -1};
  some.reward = {.distance = 5};  // does not matter without guidance
  EXPECT_LT(nearest, distance(first_plan(*tiny.make(some), s), s).sum(1).min().item<double>());
}

TEST(ForcingPlanner, ParticlesNeedNoGradient) {
  TinyPlanner tiny;
  tiny.sampling.sampler.eta = 1;
  ForcingPlannerConfig particles = planner_config(1);
  particles.guidance.form = GuidanceForm::resample;
  particles.guidance.branches = 16;
  const PlanReward reward = [inner = make_plan_reward({})](const Tensor& frames, const Tensor& goals) {
    return inner(frames.detach(), goals);
  };
  const Situation s = situation(3);
  const Trajectory chosen = first_plan(*tiny.make(particles, reward), s);
  EXPECT_EQ(chosen.observations.sizes(), (at::IntArrayRef{3, 30, 4}));
  const double free = distance(first_plan(*tiny.make(planner_config()), s), s).mean().item<double>();
  EXPECT_LT(distance(chosen, s).mean().item<double>(), 0.95 * free);
  expect_close(first_plan(*tiny.make(particles), s), chosen);  // the configured reward, taken whole
}

TEST(ForcingPlanner, WarmStartsGoOnWithTheLastPlan) {
  const TinyPlanner tiny;
  const auto shift = [&](int64_t level, int64_t candidates = 1) {
    ForcingPlannerConfig warm = planner_config();
    warm.warm_start = level;
    warm.candidates = candidates;
    const auto policy = tiny.make(warm);
    const Trajectory first = first_plan(*policy, situation(2)), second = policy->act(situation(2)).plan;
    EXPECT_EQ(second.observations.size(1), 30);
    const Tensor old = first.observations.narrow(1, 10, 20), now = second.observations.narrow(1, 0, 20);
    return ((now - old).norm() / (old - old.mean(at::IntArrayRef{0, 1}, true)).norm()).item<double>();
  };
  EXPECT_LT(shift(1), 0.2);
  EXPECT_LT(shift(1, 3), 0.2);
  EXPECT_LT(shift(1), shift(8));
  EXPECT_LT(shift(8), shift(20));
  EXPECT_GT(shift(0), 1.0);
  // What is new comes from noise, and a plan that is used up is no start.
  ForcingPlannerConfig all = planner_config();
  all.open_loop = 30;
  all.warm_start = 1;
  const auto policy = tiny.make(all);
  const Trajectory first = first_plan(*policy, situation(1));
  all.warm_start = 0;
  const auto cold = tiny.make(all);
  expect_close(first_plan(*cold, situation(1)), first);
  expect_close(cold->act(situation(1)).plan, policy->act(situation(1)).plan);
}

TEST(ForcingPlanner, RowsAreShownWhileTheyAreSampled) {
  const TinyPlanner tiny;
  for (const double scale : {0.0, 1.0}) {
    std::vector<int64_t> rows;
    Tensor last;
    const Trajectory plan = first_plan(*tiny.make(planner_config(scale), {},
                                                  [&](int64_t m, const Tensor& frames) {
                                                    rows.push_back(m);
                                                    last = frames.clone();
                                                  }),
                                       situation(2));
    ASSERT_EQ(rows.size(), 10u);
    EXPECT_EQ(last.sizes(), (at::IntArrayRef{30, 6}));
    EXPECT_TRUE(close(last.narrow(1, 0, 4), plan.observations[0], 1e-6));
    expect_close(plan, first_plan(*tiny.make(planner_config(scale)), situation(2)));  // watching changes nothing
  }
}

}  // namespace df
