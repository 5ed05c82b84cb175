// SPDX-License-Identifier: MIT
// Diffuser's policy: a plan between start and goal, how it is followed, and what comes after its end. The model's weights are random.
#include "diffusion_forcing/maze2d/diffuser_planner.hpp"

#include <ATen/ATen.h>

#include <cmath>

#include "diffusion_forcing/config/roles.hpp"
#include "diffusion_forcing/models/temporal_unet.hpp"
#include "maze2d/tiny_planner.hpp"
#include "support/support.hpp"

namespace df {
namespace {

using test::close;
using test::error_of;
using test::identical;
using test::situation;

constexpr int64_t H = 8;

struct TinyDiffuser {
  TinyDiffuser() {
    spec.token = {{H, 6}, 8, {}, H};
    spec.tokens = 1;
    spec.mean = 0;
    spec.std = 1;
    spec.frame_mean = {1.8, 2.0, 0.1, -0.1, 0.0, 0.0};
    spec.frame_std = {1.5, 1.4, 5.0, 5.0, 1.0, 1.0};
    TemporalUnetConfig network;
    network.dim = 8;
    network.multipliers = {1, 2};
    model = make_model(network, spec.token, 1);
    model->eval();
    DiffusionConfig levels;
    levels.schedule = ScheduleKind::cosine;
    levels.levels = 8;
    levels.output = Space::x0;
    diffusion = make_diffusion(levels);
    sampling.schedule = "full_sequence";
    sampling.steps = 8;
    sampling.sampler.solver = Solver::ddpm;
    sampling.sampler.clip_x0 = 1;
  }
  PlannerModel trained() const { return {*model, diffusion, spec, sampling}; }
  // Rows of frames [H, 6] of the first world's plan go to `rows`.
  std::unique_ptr<Policy> make(const DiffuserPlannerConfig& config, std::vector<Tensor>* rows = nullptr) const {
    PlanObserver observer;
    if (rows) observer = [rows](int64_t, const Tensor& frames) { rows->push_back(frames.clone()); };
    return df::make(config, trained(), observer);
  }
  DataSpec spec;
  std::shared_ptr<CausalModel> model;
  Diffusion diffusion;
  RolloutConfig sampling;
};

Trajectory first_plan(Policy& policy, const Situation& s, uint64_t seed = 7, int64_t first_world = 0) {
  policy.start(s.now.state.size(0), seed, first_world);
  return policy.act(s).plan;
}

Tensor at_rest(const Tensor& goals) { return at::cat({goals, at::zeros_like(goals)}, 1); }

}  // namespace

TEST(DiffuserPlanner, PlansLeadFromTheStartToTheGoalAtRest) {
  const TinyDiffuser tiny;
  std::vector<Tensor> rows;
  const Situation s = situation(2);
  const Trajectory plan = first_plan(*tiny.make({}, &rows), s);
  EXPECT_EQ(plan.observations.sizes(), (at::IntArrayRef{2, H - 1, 4}));
  EXPECT_EQ(plan.actions.sizes(), (at::IntArrayRef{2, H - 1, 2}));
  EXPECT_LT((plan.observations.select(1, H - 2) - at_rest(s.now.goal)).abs().max().item<double>(), 1e-5);
  ASSERT_EQ(rows.size(), 8u);
  const Tensor& frames = rows.back();
  EXPECT_LT((frames[0].slice(0, 0, 4) - s.now.state[0]).abs().max().item<double>(), 1e-5);
  EXPECT_TRUE(identical(frames.slice(0, 1).slice(1, 0, 4), plan.observations[0]));
  EXPECT_TRUE(identical(frames.slice(0, 0, H - 1).slice(1, 4), plan.actions[0]));
  EXPECT_LE(((plan.observations - at::tensor({1.8, 2.0, 0.1, -0.1}, at::kDouble)) / at::tensor({1.5, 1.4, 5.0, 5.0}, at::kDouble))
                .abs()
                .max()
                .item<double>(),
            1.0 + 1e-6);
}

TEST(DiffuserPlanner, FollowsFromTheSeedAndTheWorld) {
  const TinyDiffuser tiny;
  const Situation all = situation(3);
  const auto policy = tiny.make({});
  const Trajectory plan = first_plan(*policy, all, 7, 10);
  EXPECT_TRUE(identical(first_plan(*policy, all, 7, 10).observations, plan.observations));
  EXPECT_FALSE(close(first_plan(*policy, all, 8, 10).observations, plan.observations, 1e-3));
  Situation one = all;
  one.now.state = all.now.state.narrow(0, 1, 1);
  one.now.goal = all.now.goal.narrow(0, 1, 1);
  EXPECT_TRUE(close(first_plan(*policy, one, 7, 11).observations, plan.observations.narrow(0, 1, 1), 1e-5));
}

TEST(DiffuserPlanner, TracksThePlanAndThenHoldsTheGoal) {
  const TinyDiffuser tiny;
  DiffuserPlannerConfig config;
  config.p = 0.3;
  config.d = 0.2;
  const auto policy = tiny.make(config);
  policy->start(2, 7, 0);
  Tensor targets;
  for (int64_t t = 0; t < H + 3; ++t) {
    Situation present = situation(2, 100 - t);
    present.now.state.add_(0.01 * static_cast<double>(t));
    const Decision decision = policy->act(present);
    EXPECT_EQ(decision.plan.observations.defined(), t == 0);  // one plan an episode
    EXPECT_EQ(decision.planning_seconds > 0, t == 0);
    if (t == 0) targets = decision.plan.observations;
    const Tensor target = t < H - 1 ? targets.select(1, t) : at_rest(present.now.goal), error = target - present.now.state;
    const Tensor law = (0.3 * error.narrow(1, 0, 2) + 0.2 * error.narrow(1, 2, 2)).clamp(-1, 1);
    EXPECT_LT((decision.actions - law.unsqueeze(1)).abs().max().item<double>(), 1e-5) << t;
  }
}

TEST(DiffuserPlanner, DiffusedActionsAreThePlannedOnesAndThenABrake) {
  const TinyDiffuser tiny;
  std::vector<Tensor> rows;
  DiffuserPlannerConfig config;
  config.execution = Execution::actions;
  const auto policy = tiny.make(config, &rows);
  policy->start(1, 7, 0);
  for (int64_t t = 0; t < H + 2; ++t) {
    Situation present = situation(1, 100 - t);
    present.now.state[0][2] = 0.25;
    present.now.state[0][3] = -3.0;
    const Tensor actions = policy->act(present).actions;
    const Tensor expected = t < H ? rows.back()[t].slice(0, 4).clamp(-1, 1) : at::tensor({-0.25, 1.0}, at::kDouble);
    EXPECT_TRUE(identical(actions, expected.view({1, 1, 2}))) << t;
  }
  EXPECT_NE(policy->describe().find("diffused actions"), std::string::npos);
}

TEST(DiffuserPlanner, ReplansWhereItIsToldTo) {
  const TinyDiffuser tiny;
  DiffuserPlannerConfig config;
  config.open_loop = 3;
  const auto policy = tiny.make(config);
  policy->start(1, 7, 0);
  std::vector<Tensor> plans;
  for (int64_t t = 0; t < 7; ++t) {
    Situation present = situation(1, 100 - t);
    present.now.state[0][0] += 0.05 * static_cast<double>(t);
    const Decision decision = policy->act(present);
    EXPECT_EQ(decision.plan.observations.defined(), t % 3 == 0) << t;
    if (t % 3 != 0) continue;
    plans.push_back(decision.plan.observations);
    // The first target is that of the new plan.
    const Tensor error = plans.back().select(1, 0) - present.now.state;
    EXPECT_TRUE(close(decision.actions[0], (error.narrow(1, 0, 2) + error.narrow(1, 2, 2)).clamp(-1, 1), 1e-12));
  }
  EXPECT_FALSE(close(plans[1], plans[0], 1e-3));  // from another place, with other noise
}

TEST(DiffuserPlanner, ErrorsNameKeyExpectedAndGot) {
  TinyDiffuser tiny;
  const auto error = [&](const DiffuserPlannerConfig& config) { return error_of([&] { make(config, tiny.trained(), {}); }); };
  EXPECT_EQ(error({.open_loop = -1}), "planning.open_loop: expected at least 0, got -1");
  EXPECT_EQ(error({.p = std::nan("")}), "planning.p: expected a finite number, got nan");
  EXPECT_EQ(error({.d = -INFINITY}), "planning.d: expected a finite number, got -inf");
  const test::TinyPlanner other;
  EXPECT_EQ(error_of([&] {
              make(DiffuserPlannerConfig{}, {*other.model, other.diffusion, other.spec, other.sampling}, {});
            }),
            "planner: expected a Diffuser model (one token of [H, 6], condition of 8 numbers), got tokens [30] and 0 numbers");
  EXPECT_EQ(error_of([&] { make(ForcingPlannerConfig{}, tiny.trained(), {}); }),
            "planner: expected tokens of 8 frames of 6 numbers, got [8, 6]");
  const auto policy = tiny.make({});
  policy->start(2, 0, 0);
  EXPECT_EQ(error_of([&] { policy->act(situation(3)); }), "planner: expected the 2 worlds of start(), got 3");
}

}  // namespace df
