// SPDX-License-Identifier: MIT
// Each term of the reward against its formula, frame by frame.
#include "diffusion_forcing/maze2d/plan_reward.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/autograd.h>

#include <cmath>
#include <functional>
#include <limits>

#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/maze2d/maze2d.hpp"
#include "support/support.hpp"

namespace df {
namespace {

using test::error_of;

constexpr PlanRewardConfig none{.distance = 0};

struct Frame {
  double distance, speed, ax, ay, reward;
};
// The reward of frames [B, F, D] by a formula for one frame.
void expect_sum(const PlanRewardConfig& config, const std::function<double(const Frame&)>& formula) {
  const Tensor frames = seeded_normal({3, 5, 7}, 1) * 1.5, goals = seeded_normal({3, 2}, 2);
  const Tensor total = make_plan_reward(config)(frames, goals);
  ASSERT_EQ(total.sizes(), (at::IntArrayRef{3}));
  for (int64_t b = 0; b < 3; ++b) {
    double sum = 0;
    for (int64_t f = 0; f < 5; ++f) {
      const auto at = [&](int64_t d) { return frames[b][f][d].item<double>(); };
      sum += formula({std::hypot(at(0) - goals[b][0].item<double>(), at(1) - goals[b][1].item<double>()), std::hypot(at(2), at(3)), at(4),
                      at(5), at(6)});
    }
    EXPECT_NEAR(total[b].item<double>(), sum, 1e-5);
  }
}

double beyond(double a) { return std::pow(std::max(std::abs(a) - 1, 0.0), 2); }

}  // namespace

TEST(PlanReward, TermsAreTheirFormulas) {
  const auto with = [](double PlanRewardConfig::*term, double weight) {
    PlanRewardConfig config = none;
    config.*term = weight;
    return config;
  };
  expect_sum({}, [](const Frame& f) { return -f.distance; });
  expect_sum(with(&PlanRewardConfig::distance, 2), [](const Frame& f) { return -2 * f.distance; });
  expect_sum(with(&PlanRewardConfig::dense, 3), [](const Frame& f) { return 3 * std::exp(-f.distance); });
  expect_sum(with(&PlanRewardConfig::approach, 3), [](const Frame& f) { return -3 * std::log(1 + f.distance); });
  expect_sum({.distance = 0, .approach = 2, .length = 4}, [](const Frame& f) { return -8 * std::log(1 + f.distance / 4); });
  expect_sum(with(&PlanRewardConfig::sparse, 5), [](const Frame& f) { return f.distance <= 0.5 ? 5.0 : 0.0; });
  expect_sum(with(&PlanRewardConfig::stay, 7),
             [](const Frame& f) { return -7 * f.speed * f.speed * std::exp(-std::pow(f.distance / 0.5, 2)); });
  expect_sum(with(&PlanRewardConfig::learned, 0.5), [](const Frame& f) { return 0.5 * f.reward; });
  expect_sum(with(&PlanRewardConfig::action, 11), [](const Frame& f) { return -11 * (beyond(f.ax) + beyond(f.ay)); });
  expect_sum({.distance = 1, .dense = 2, .sparse = 3, .stay = 0.5, .learned = 4, .action = 0.1}, [](const Frame& f) {
    return -f.distance + 2 * std::exp(-f.distance) + 3 * (f.distance <= 0.5) -
           0.5 * f.speed * f.speed * std::exp(-std::pow(f.distance / 0.5, 2)) + 4 * f.reward - 0.1 * (beyond(f.ax) + beyond(f.ay));
  });
  expect_sum(none, [](const Frame&) { return 0.0; });
}

// Another metric changes `distance`, `dense` and `approach` alone.
TEST(PlanReward, TravelsWhereItIsAskedTo) {
  const Tensor frames = seeded_normal({3, 5, 6}, 1), goals = seeded_normal({3, 2}, 2);
  const TravelDistance travel = [](const Tensor& positions) { return positions.abs().sum(2); };
  const Tensor way = travel(frames.narrow(2, 0, 2));
  PlanRewardConfig config{.distance = 2, .dense = 3, .approach = 4, .metric = PlanMetric::travel, .length = 2.5};
  const Tensor expected = -2 * way.sum(1) + 3 * (-way / 2.5).exp().sum(1) - 4 * 2.5 * (1 + way / 2.5).log().sum(1);
  EXPECT_TRUE(test::close(make_plan_reward(config, "planning.reward", travel)(frames, goals), expected, 1e-5));
  config = {.distance = 0, .sparse = 1, .stay = 1, .metric = PlanMetric::travel};
  PlanRewardConfig straight = config;
  straight.metric = PlanMetric::straight;
  EXPECT_TRUE(
      test::identical(make_plan_reward(config, "planning.reward", travel)(frames, goals), make_plan_reward(straight)(frames, goals)));
}

// Frame f's velocity is that of its observation, so it carries from the frame before; a frame that does not follow is a leap.
TEST(PlanReward, LeapsAreWhatTheVelocityDoesNotExplain) {
  PlanRewardConfig config = none;
  config.dynamics = 2;
  const PlanReward reward = make_plan_reward(config);
  const Tensor frames = seeded_normal({2, 4, 6}, 1), goals = at::zeros({2, 2});
  for (int64_t b = 0; b < 2; ++b) {
    double sum = 0;
    for (int64_t f = 1; f < 4; ++f)
      for (int64_t d = 0; d < 2; ++d)
        sum += std::pow((frames[b][f][d] - frames[b][f - 1][d]).item<double>() / 0.01 - frames[b][f][2 + d].item<double>(), 2);
    EXPECT_NEAR(reward(frames, goals)[b].item<double>() / (-2 * sum), 1, 1e-5);
  }
  EXPECT_EQ(reward(frames.narrow(1, 0, 1), goals).abs().max().item<double>(), 0);
  // A drive of the world has none, but for what a step's own integration leaves.
  Maze2d world(maze2d_layout("umaze"));
  world.set_state({3, 1, 0, 0});
  std::vector<Tensor> drive;
  for (int64_t t = 0; t < 30; ++t) {
    world.step({0.0, 1.0});
    const auto& s = world.state();
    drive.push_back(at::tensor({s[0], s[1], s[2], s[3], 0.0, 1.0}, at::kDouble));
  }
  const Tensor real = at::stack(drive).unsqueeze(0);
  EXPECT_GT(reward(real, at::zeros({1, 2}, at::kDouble)).item<double>(), -1e-3);
  Tensor leap = real.clone();
  leap.slice(1, 15).select(2, 1).add_(0.2);
  EXPECT_NEAR(reward(leap, at::zeros({1, 2}, at::kDouble)).item<double>(), -2 * 400, 1);
}

TEST(PlanReward, StayingSlowsFramesDownAndMovesNone) {
  const Tensor frames = (seeded_normal({2, 3, 6}, 1) * 0.2).requires_grad_(true);
  const Tensor value = make_plan_reward({.distance = 0, .stay = 1})(frames, at::zeros({2, 2})).sum();
  const Tensor gradient = torch::autograd::grad({value}, {frames})[0];
  EXPECT_EQ(gradient.narrow(2, 0, 2).abs().max().item<double>(), 0.0);
  EXPECT_TRUE((gradient.narrow(2, 2, 2) * frames.narrow(2, 2, 2) < 0).all().item<bool>());
}

TEST(PlanReward, GradientsAreFiniteAtTheGoal) {
  const Tensor goals = at::tensor({1.0, 2.0}).view({1, 2});
  const Tensor frames = at::cat({goals, at::zeros({1, 4})}, 1).repeat({1, 3, 1}).view({1, 3, 6}).requires_grad_(true);
  const PlanReward reward = make_plan_reward({.distance = 1, .dense = 1, .sparse = 1, .stay = 1, .learned = 0, .action = 1});
  EXPECT_NEAR(reward(frames, goals).item<double>(), 3 * (1 + 1), 1e-4);
  const Tensor gradient = torch::autograd::grad({reward(frames, goals).sum()}, {frames})[0];
  EXPECT_EQ(gradient.abs().max().item<double>(), 0.0);
  // Nearby it points to the goal, with length 1.
  const Tensor beside = frames.detach().clone();
  beside.select(2, 0).add_(0.3);
  beside.requires_grad_(true);
  const Tensor towards = torch::autograd::grad({make_plan_reward({})(beside, goals).sum()}, {beside})[0];
  EXPECT_TRUE(test::close(towards.select(2, 0), at::full({1, 3}, -1.0), 1e-4));
}

TEST(PlanReward, ErrorsNameTheKey) {
  PlanRewardConfig config;
  config.stay = std::numeric_limits<double>::infinity();
  EXPECT_EQ(error_of([&] { make_plan_reward(config); }), "planning.reward.stay: expected a finite number, got inf");
  EXPECT_EQ(error_of([&] { make_plan_reward(config, "planning.choice"); }), "planning.choice.stay: expected a finite number, got inf");
  for (const auto& [name, term] : {std::pair{"distance", &PlanRewardConfig::distance},
                                   {"dense", &PlanRewardConfig::dense},
                                   {"sparse", &PlanRewardConfig::sparse},
                                   {"learned", &PlanRewardConfig::learned},
                                   {"action", &PlanRewardConfig::action},
                                   {"dynamics", &PlanRewardConfig::dynamics}}) {
    PlanRewardConfig bad;
    bad.*term = std::nan("");
    EXPECT_EQ(error_of([&] { validate(bad); }), std::string("planning.reward.") + name + ": expected a finite number, got nan");
  }
  for (const double length : {0.0, -1.0, std::nan("")})
    EXPECT_EQ(error_of([&] { validate({.length = length}, "a"); }), fmt::format("a.length: expected metres above 0, got {}", length));
  EXPECT_EQ(error_of([&] { make_plan_reward({.metric = PlanMetric::travel}); }),
            "planning.reward.metric: expected straight where there is no map of the ways that the data took, got travel");
  config = none;
  config.learned = 2;
  EXPECT_EQ(error_of([&] {
              make_plan_reward(config)(at::zeros({1, 2, 6}), at::zeros({1, 2}));
            }),
            "planning.reward.learned: expected 0 for a model without predicted rewards (data.reward: false), got 2");
  EXPECT_EQ(error_of([&] {
              make_plan_reward({})(at::zeros({1, 2, 6}), at::zeros({3, 2}));
            }),
            "planned frames: expected shape [3, *, *], got [1, 2, 6]");
}

}  // namespace df
