// SPDX-License-Identifier: MIT
// A small environment of our own: a point on a line that is pushed to a goal and seen by a camera. The second user of Environment.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/planning/environment.hpp"
#include "diffusion_forcing/planning/policy.hpp"

namespace df::test {

// Places 0 .. 7 on a line; an action moves by -1 .. 1. World i starts at one end or near it and wants to be elsewhere. The camera is a row
// of pixels that is white where the point is; in the world of seed `blind` it gives no picture from step 2 on.
class PointWorld final : public Environment {
 public:
  static constexpr int64_t places = 8, steps = 12;
  static constexpr double reach = 0.5;
  explicit PointWorld(uint64_t blind = 2) : blind_(blind) {
    spec_.task = "point-on-a-line";
    spec_.steps = steps;
    spec_.steps_a_second = 10.0;
    spec_.observation = spec_.action = spec_.goal = spec_.record = 1;
    spec_.cameras = {{"above", 1, places}};
    spec_.action_low = {-1.0};
    spec_.action_high = {1.0};
    spec_.place = {"x"};
    OutcomeSpec success, score, reached;
    success.key = "success";
    success.title = "at the goal, %";
    success.scale = 100.0;
    score.key = score.title = "score";
    reached.key = "first_reach";
    reached.title = "first reach, steps";
    reached.whole = true;
    reached.share_key = "reached";
    reached.share_title = "reached";
    spec_.outcomes = {success, score, reached};
  }

  const EnvironmentSpec& spec() const override { return spec_; }

  void reset(uint64_t seed, int64_t first_world, int64_t worlds) override {
    seeds_.clear();
    x_.clear();
    goal_.clear();
    for (int64_t i = 0; i < worlds; ++i) {
      const uint64_t own = seed + static_cast<uint64_t>(first_world + i);
      seeds_.push_back(own);
      x_.push_back(static_cast<double>(derive_seed(own, {1}) % 3));
      goal_.push_back(4.0 + static_cast<double>(derive_seed(own, {2}) % 4));
    }
    score_.assign(x_.size(), 0.0);
    reached_.assign(x_.size(), std::numeric_limits<double>::quiet_NaN());
    step_ = 0;
  }

  Observation observe() override {
    const auto worlds = static_cast<int64_t>(x_.size());
    Observation seen{.state = column(x_), .images = {at::zeros({worlds, 3, 1, places}, at::kByte)}, .missing = {}, .goal = column(goal_)};
    seen.missing = at::zeros({worlds, 1}, at::kBool);
    for (int64_t i = 0; i < worlds; ++i) {
      const auto number = static_cast<size_t>(i);
      if (seeds_[number] == blind_ && step_ >= 2)
        seen.missing[i][0] = true;
      else
        seen.images[0].select(0, i).select(2, std::clamp<int64_t>(std::llround(x_[number]), 0, places - 1)).fill_(255);
    }
    return seen;
  }

  Steps step(const Tensor& actions) override {
    Steps done{at::empty({actions.size(0), actions.size(1)}, at::kDouble), at::empty({actions.size(0), actions.size(1), 1}, at::kDouble)};
    for (int64_t t = 0; t < actions.size(1); ++t) {
      ++step_;
      for (size_t i = 0; i < x_.size(); ++i) {
        const auto row = static_cast<int64_t>(i);
        x_[i] += std::clamp(actions[row][t][0].item<double>(), -1.0, 1.0);
        const double reward = -std::abs(x_[i] - goal_[i]);
        score_[i] += reward;
        if (std::isnan(reached_[i]) && at_goal(i)) reached_[i] = static_cast<double>(step_);
        done.rewards[row][t] = reward;
        done.records[row][t][0] = x_[i];
      }
    }
    return done;
  }

  Tensor record() const override { return column(x_); }

  Tensor outcome() const override {
    std::vector<double> success;
    for (size_t i = 0; i < x_.size(); ++i) success.push_back(at_goal(i) ? 1.0 : 0.0);
    return at::cat({column(success), column(score_), column(reached_)}, 1);
  }

  // The line from above: the way in grey, the goal red, the point black, a plan's places blue.
  Tensor draw(const WorldPicture& picture, int64_t width) const override {
    const int64_t cell = std::max<int64_t>(1, width / places);
    const Tensor image = at::full({3, cell, cell * places}, 255, at::kByte);
    const auto paint = [&](double x, int red, int green, int blue) {
      const Tensor square = image.narrow(2, cell * std::clamp<int64_t>(std::llround(x), 0, places - 1), cell);
      square[0].fill_(red);
      square[1].fill_(green);
      square[2].fill_(blue);
    };
    for (int64_t t = 0; t < picture.record.size(0); ++t) paint(picture.record[t][0].item<double>(), 160, 160, 160);
    for (const Tensor& line : {picture.plan.observations.defined() ? picture.plan.observations[0] : Tensor(), picture.points})
      for (int64_t f = 0; line.defined() && f < line.size(0); ++f) paint(line[f][0].item<double>(), 0, 0, 255);
    if (picture.goal.defined()) paint(picture.goal[0].item<double>(), 255, 0, 0);
    paint(picture.record[-1][0].item<double>(), 0, 0, 0);
    return image;
  }

 private:
  bool at_goal(size_t i) const { return std::abs(x_[i] - goal_[i]) <= reach; }
  static Tensor column(const std::vector<double>& values) { return at::tensor(values, at::kDouble).unsqueeze(1); }
  EnvironmentSpec spec_;
  uint64_t blind_;
  std::vector<uint64_t> seeds_;
  std::vector<double> x_, goal_, score_, reached_;
  int64_t step_ = 0;
};

// Looks where the point is, believes what it did where the camera is missing, and answers with the next `chunk` actions and their plan.
class ChunkPolicy final : public Policy {
 public:
  explicit ChunkPolicy(int64_t chunk, int64_t earlier = 0) : chunk_(chunk), earlier_(earlier) {}
  void start(int64_t worlds, uint64_t, int64_t) override { believed_.assign(static_cast<size_t>(worlds), 0.0); }
  Decision act(const Situation& situation) override {
    asked.push_back(situation);
    const auto worlds = static_cast<int64_t>(believed_.size());
    Decision decision{at::zeros({worlds, chunk_, 1}, at::kDouble), {at::zeros({worlds, chunk_, 1}, at::kDouble), {}}, 0.125};
    for (int64_t i = 0; i < worlds; ++i) {
      double& x = believed_[static_cast<size_t>(i)];
      if (!situation.now.missing[i][0].item<bool>()) x = static_cast<double>(situation.now.images[0][i][0][0].argmax().item<int64_t>());
      for (int64_t t = 0; t < chunk_; ++t) {
        const double action = std::clamp(situation.now.goal[i][0].item<double>() - x, -1.0, 1.0);
        decision.actions[i][t][0] = action;
        decision.plan.observations[i][t][0] = x += action;
      }
    }
    return decision;
  }
  std::string describe() const override { return "chunks of actions"; }
  int64_t earlier() const override { return earlier_; }
  std::vector<Situation> asked;

 private:
  int64_t chunk_, earlier_;
  std::vector<double> believed_;
};

}  // namespace df::test
