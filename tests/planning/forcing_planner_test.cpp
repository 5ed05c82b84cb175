// SPDX-License-Identifier: MIT
// What plans are made of: seeds, horizons, warm starts, candidates, rewards. The models are random, so nothing here is about skill.
#include "diffusion_forcing/planning/forcing_planner.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "diffusion_forcing/core/error.hpp"
#include "planning/tiny_planner.hpp"
#include "support/support.hpp"

namespace df {
namespace {

using test::close;
using test::error_of;
using test::identical;
using test::situation;
using test::TinyPlanner;

ForcingPlannerConfig config(double scale = 0) {
  ForcingPlannerConfig all;
  all.horizon = 30;
  all.guidance.scale = scale;
  return all;
}

Trajectory first_plan(Policy& policy, const Situation& s, uint64_t seed = 7, int64_t first_world = 0) {
  policy.start(s.states.size(0), seed, first_world);
  return policy.act(s).plan;
}

// [B, F] distance to the goal.
Tensor distance(const Trajectory& plan, const Situation& s) {
  return (plan.observations.narrow(2, 0, 2) - s.goals.unsqueeze(1)).square().sum(2).sqrt();
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
    const auto policy = tiny.make(config(scale)), again = tiny.make(config(scale));
    const Trajectory plan = first_plan(*policy, situation(2));
    EXPECT_EQ(plan.observations.sizes(), (at::IntArrayRef{2, 30, 4}));
    EXPECT_EQ(plan.actions.sizes(), (at::IntArrayRef{2, 30, 2}));
    EXPECT_EQ(plan.actions.scalar_type(), at::kDouble);
    EXPECT_TRUE(identical(first_plan(*again, situation(2)).observations, plan.observations));
    EXPECT_TRUE(identical(first_plan(*policy, situation(2)).observations, plan.observations));  // start() forgets
    EXPECT_FALSE(close(policy->act(situation(2)).plan.observations, plan.observations, 1e-3));  // the next plan has other noise
    EXPECT_FALSE(close(first_plan(*policy, situation(2), 8).observations, plan.observations, 1e-3));
    Situation moved = situation(2);
    moved.states.select(1, 0).add_(1);
    EXPECT_FALSE(close(first_plan(*policy, moved).observations, plan.observations, 1e-5));  // plans start where the world is
  }
}

TEST(ForcingPlanner, WorldsDoNotSeeEachOther) {
  TinyPlanner tiny;
  for (const Solver solver : {Solver::ddim, Solver::ddpm})
    for (const double scale : {0.0, 1.0}) {
      tiny.sampling.sampler.solver = solver;
      ForcingPlannerConfig two = config(scale);
      two.candidates = 2;
      const Situation all = situation(3);
      Situation one = all;
      one.states = all.states.narrow(0, 1, 1);
      one.goals = all.goals.narrow(0, 1, 1);
      expect_close(first_plan(*tiny.make(two), one, 7, 11), row(first_plan(*tiny.make(two), all, 7, 10), 1));
    }
}

TEST(ForcingPlanner, HorizonsEndWithTheEpisode) {
  const TinyPlanner tiny;
  const auto frames = [&](int64_t horizon, int64_t steps_left) {
    ForcingPlannerConfig some = config();
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
  const auto policy = tiny.make(config());
  policy->start(2, 7, 0);
  const Decision decision = policy->act(situation(2));
  EXPECT_TRUE(identical(decision.actions, decision.plan.actions.narrow(1, 0, 10).clamp(-1, 1)));
  EXPECT_GT(decision.planning_seconds, 0);
  policy->start(2, 7, 0);
  EXPECT_EQ(policy->act(situation(2, 3)).actions.size(1), 5);  // no more than were planned
}

TEST(ForcingPlanner, TrackingFollowsThePlanStepByStep) {
  const TinyPlanner tiny;
  ForcingPlannerConfig tracking = config();
  tracking.execution = Execution::tracking;
  tracking.open_loop = 3;
  tracking.p = 0.5;
  tracking.d = 0.25;
  const auto policy = tiny.make(tracking);
  policy->start(2, 7, 0);
  Tensor targets;
  for (int64_t step = 0; step < 7; ++step) {
    Situation now = situation(2, 100 - step);
    now.states.select(1, 0).add_(0.01 * static_cast<double>(step));
    const Decision decision = policy->act(now);
    EXPECT_EQ(decision.plan.observations.defined(), step % 3 == 0) << step;
    EXPECT_EQ(decision.planning_seconds > 0, step % 3 == 0) << step;
    if (step % 3 == 0) targets = decision.plan.observations;
    const Tensor error = targets.select(1, step % 3) - now.states;
    const Tensor law = (0.5 * error.narrow(1, 0, 2) + 0.25 * error.narrow(1, 2, 2)).clamp(-1, 1);
    EXPECT_TRUE(close(decision.actions, law.unsqueeze(1), 1e-12)) << step;
  }
}

// Also beyond the steps that are executed of a plan.
TEST(ForcingPlanner, TrackingAimsAhead) {
  const TinyPlanner tiny;
  ForcingPlannerConfig tracking = config();
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
      const Situation now = situation(2, 100 - step);
      const Decision decision = policy->act(now);
      if (step == 0) targets = decision.plan.observations;
      const Tensor error = targets.select(1, std::min<int64_t>(step + ahead, 29)) - now.states;
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
    const double free = distance(first_plan(*tiny.make(config()), s), s).mean().item<double>();
    const double pulled = distance(first_plan(*tiny.make(config(0.5)), s), s).mean().item<double>();
    EXPECT_LT(pulled, 0.9 * free) << schedule;
    EXPECT_LT(distance(first_plan(*tiny.make(config(2)), s), s).mean().item<double>(), 0.9 * pulled) << schedule;
  }
  // Branches, whose futures are drawn, do the same.
  tiny.sampling.schedule = "pyramid";
  ForcingPlannerConfig branching = config(2);
  branching.guidance.branches = 3;
  branching.guidance.lookahead = 2;
  const double free = distance(first_plan(*tiny.make(config()), s), s).mean().item<double>();
  EXPECT_LT(distance(first_plan(*tiny.make(branching), s), s).mean().item<double>(), 0.9 * free);
}

// The sampler is kept from plan to plan; the goals are those of the call.
TEST(ForcingPlanner, GoalsAreThoseOfTheSituation) {
  const TinyPlanner tiny;
  const auto policy = tiny.make(config(1));
  const Situation one = situation(2);
  Situation other = situation(2);
  other.goals.fill_(-3);
  const Trajectory before = first_plan(*policy, one), after = first_plan(*policy, other);
  EXPECT_LT(distance(after, other).mean().item<double>(), distance(before, other).mean().item<double>());
  EXPECT_TRUE(identical(first_plan(*tiny.make(config(1)), other).observations, after.observations));
}

// The maps are those of the goals of the call as well, a world's for all its candidates.
TEST(ForcingPlanner, MeasuresAlongTheDatasWays) {
  TinyPlanner tiny;
  tiny.travel = std::make_shared<TravelMap>(test::around_a_wall());
  ForcingPlannerConfig ways = config(1);
  ways.candidates = 8;
  ways.reward.metric = PlanMetric::travel;
  ways.choice = {.distance = 1, .metric = PlanMetric::travel};
  Situation s = situation(3);
  s.states.select(1, 0).add_(1.2);
  s.goals = at::tensor({0.5, 0.5, 2.5, 0.5, 1.5, 2.5}, at::kDouble).view({3, 2});
  const auto policy = tiny.make(ways);
  const Trajectory plan = first_plan(*policy, s);
  EXPECT_TRUE(identical(first_plan(*tiny.make(ways), s).observations, plan.observations));
  for (const auto metric : {&ForcingPlannerConfig::reward, &ForcingPlannerConfig::choice}) {
    ForcingPlannerConfig straight = ways;
    (straight.*metric).metric = PlanMetric::straight;
    EXPECT_FALSE(close(first_plan(*tiny.make(straight), s).observations, plan.observations, 1e-3));
  }
  Situation other = s, one = s;
  other.goals = s.goals.flip(0);
  const Trajectory after = first_plan(*policy, other);
  EXPECT_TRUE(identical(first_plan(*tiny.make(ways), other).observations, after.observations));
  for (const int64_t b : {0, 1, 2}) {  // fewer worlds than before
    one.states = s.states.narrow(0, b, 1);
    one.goals = s.goals.narrow(0, b, 1);
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
  expect_close(first_plan(*tiny.make(config(1), given), situation(2)), first_plan(*tiny.make(config(1)), situation(2)));
  EXPECT_EQ(seen, std::vector<int64_t>(10, 30));  // rows of the pyramid
  // Leaps between a finished and an unfinished frame count as well.
  ForcingPlannerConfig leaps = config(0.01);
  leaps.reward = {.distance = 1, .dynamics = 0.01};
  expect_close(first_plan(*tiny.make(leaps, make_plan_reward(leaps.reward)), situation(2)), first_plan(*tiny.make(leaps), situation(2)));
}

TEST(ForcingPlanner, TheModelsOwnRewardGuides) {
  const TinyPlanner tiny(7);
  ForcingPlannerConfig learned = config(4);
  learned.reward = {.distance = 0, .learned = 1};
  Tensor rewards;
  const PlanObserver last = [&](int64_t, const Tensor& frames) { rewards = frames.select(1, 6).clone(); };
  first_plan(*tiny.make(learned, {}, last), situation(1));
  const double guided = rewards.mean().item<double>();
  first_plan(*tiny.make(config(), {}, last), situation(1));
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
    ForcingPlannerConfig some = config(scale);
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
  ForcingPlannerConfig some = config();
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
  ForcingPlannerConfig particles = config(1);
  particles.guidance.form = GuidanceForm::resample;
  particles.guidance.branches = 16;
  const PlanReward reward = [inner = make_plan_reward({})](const Tensor& frames, const Tensor& goals) {
    return inner(frames.detach(), goals);
  };
  const Situation s = situation(3);
  const Trajectory chosen = first_plan(*tiny.make(particles, reward), s);
  EXPECT_EQ(chosen.observations.sizes(), (at::IntArrayRef{3, 30, 4}));
  const double free = distance(first_plan(*tiny.make(config()), s), s).mean().item<double>();
  EXPECT_LT(distance(chosen, s).mean().item<double>(), 0.95 * free);
  expect_close(first_plan(*tiny.make(particles), s), chosen);  // the configured reward, taken whole
}

TEST(ForcingPlanner, WarmStartsGoOnWithTheLastPlan) {
  const TinyPlanner tiny;
  const auto shift = [&](int64_t level, int64_t candidates = 1) {
    ForcingPlannerConfig warm = config();
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
  ForcingPlannerConfig all = config();
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
    const Trajectory plan = first_plan(*tiny.make(config(scale), {},
                                                  [&](int64_t m, const Tensor& frames) {
                                                    rows.push_back(m);
                                                    last = frames.clone();
                                                  }),
                                       situation(2));
    ASSERT_EQ(rows.size(), 10u);
    EXPECT_EQ(last.sizes(), (at::IntArrayRef{30, 6}));
    EXPECT_TRUE(close(last.narrow(1, 0, 4), plan.observations[0], 1e-6));
    expect_close(plan, first_plan(*tiny.make(config(scale)), situation(2)));  // watching changes nothing
  }
}

TEST(ForcingPlanner, BadRewardsAreErrors) {
  const TinyPlanner tiny;
  const auto error = [&](const ForcingPlannerConfig& some, const PlanReward& reward) {
    return error_of([&] { first_plan(*tiny.make(some, reward), situation(2)); });
  };
  ForcingPlannerConfig chosen = config();
  chosen.candidates = 3;
  const PlanReward by_frame = [](const Tensor& frames, const Tensor&) { return frames.select(2, 0); };
  EXPECT_EQ(error(config(1), by_frame), "planning.reward: expected shape [2], got [2, 30]");
  EXPECT_EQ(error(chosen, by_frame), "planning.choice: expected shape [6], got [6, 30]");
  const PlanReward nan = [](const Tensor& frames, const Tensor&) { return (frames - frames).log().sum({1, 2}) * 0; };
  EXPECT_EQ(error(config(1), nan), "reward: expected finite values, got NaN or infinity");
  EXPECT_EQ(error(chosen, nan), "planning.choice: expected finite values, got NaN or infinity");
  EXPECT_EQ(error(config(1), [](const Tensor&, const Tensor&) { return Tensor(); }),
            "planning.reward: expected shape [2], got an undefined tensor");
  EXPECT_EQ(error(config(1), [](const Tensor& frames, const Tensor&) { return at::ones({frames.size(0)}); })
                .rfind("reward: expected a value that depends on the tokens differentiably, got a constant", 0),
            0u);
}

TEST(ForcingPlanner, ErrorsNameKeyExpectedAndGot) {
  TinyPlanner tiny;
  const auto says = [&](auto change, const std::string& expected) {
    ForcingPlannerConfig bad = config();
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
  const auto policy = tiny.make(config());
  EXPECT_EQ(error_of([&] { policy->act(situation(1)); }), "planner: expected the 0 worlds of start(), got 1");
  policy->start(2, 0, 0);
  EXPECT_EQ(error_of([&] { policy->act(situation(3)); }), "planner: expected the 2 worlds of start(), got 3");
}

}  // namespace df
