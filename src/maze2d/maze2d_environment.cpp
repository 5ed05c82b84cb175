// SPDX-License-Identifier: MIT
#include "diffusion_forcing/maze2d/maze2d_environment.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/maze2d/maze2d_batch.hpp"
#include "diffusion_forcing/maze2d/maze_picture.hpp"

namespace df {

namespace {

constexpr double never = std::numeric_limits<double>::quiet_NaN();

Tensor positions_of(const Tensor& states) { return states.narrow(-1, 0, 2); }

class Maze2dEnvironment final : public Environment {
 public:
  Maze2dEnvironment(const Maze2dTask& task, const Maze2dEnvironmentOptions& options)
      : task_(task), options_(options), spec_(maze2d_environment_spec(task, options)) {
    if (options.threads < 0) throw Error(fmt::format("threads: expected 0 or more, got {}", options.threads));
  }

  const EnvironmentSpec& spec() const override { return spec_; }

  void reset(uint64_t seed, int64_t first_world, int64_t worlds) override {
    worlds_ = std::make_unique<Maze2dBatch>(task_.maze(), worlds, options_.threads,
                                            Maze2dOptions{.dense = task_.dense, .physics = options_.physics});
    worlds_->reset(seed + static_cast<uint64_t>(first_world), options_.multi);
    goals_ = worlds_->targets();
    raw_.assign(static_cast<size_t>(worlds), 0.0);
    first_reach_.assign(static_cast<size_t>(worlds), never);
    step_ = 0;
    note_reached(worlds_->states().unsqueeze(1), 0);
  }

  Observation observe() override { return {.state = record(), .images = {}, .missing = {}, .goal = goals_}; }

  Steps step(const Tensor& actions) override {
    const auto done = started().run(actions);
    const double* reward = done.rewards.const_data_ptr<double>();
    for (double& raw : raw_)
      for (int64_t t = 0; t < actions.size(1); ++t) raw += *reward++;
    note_reached(done.states, step_ + 1);
    step_ += actions.size(1);
    return {done.rewards, done.states};
  }

  Tensor record() const override { return started().states(); }

  Tensor outcome() const override {
    const auto worlds = static_cast<int64_t>(raw_.size());
    const Tensor all = at::empty({worlds, 3}, at::kDouble);
    double* to = all.mutable_data_ptr<double>();
    for (size_t i = 0; i < raw_.size(); ++i) {
      *to++ = raw_[i];
      *to++ = normalized_score(task_, raw_[i]);
      *to++ = first_reach_[i];
    }
    return all;
  }

  Tensor draw(const WorldPicture& picture, int64_t width) const override {
    const Tensor start = picture.record[0].contiguous(), goal = picture.goal.contiguous();
    const double *s = start.const_data_ptr<double>(), *g = goal.const_data_ptr<double>();
    // Colours span the way to the goal, where it is reached, since to rest there says nothing.
    const bool reached = picture.outcome.size() > 2 && picture.outcome[2] > 0;
    MazeDrawing drawing{.positions = positions_of(picture.record),
                        .plan = {},
                        .points = picture.points,
                        .start = {s[0], s[1]},
                        .goal = {g[0], g[1]},
                        .frames = 1 + (reached ? std::llround(picture.outcome[2]) : picture.steps),
                        .ball = picture.moment};
    if (picture.plan.observations.defined())
      drawing.plan = at::cat(
          {positions_of(picture.record.narrow(0, picture.plan_step, 1)), positions_of(picture.plan.observations[0]).to(at::kDouble)});
    return draw_maze(task_.maze(), drawing, maze_pixels(task_.maze(), width));
  }

  std::string caption(const std::vector<double>& outcome) const override {
    const auto reach = std::isnan(outcome.at(2)) ? std::string("never there") : fmt::format("there at {}", std::llround(outcome[2]));
    return fmt::format("{:.4g}, {}", outcome[0], reach);
  }

 private:
  Maze2dBatch& started() const {
    if (!worlds_) throw Error(spec_.task + ": expected reset() before anything else");
    return *worlds_;
  }

  // states [B, n, 4], of steps first, first + 1, ...
  void note_reached(const Tensor& states, int64_t first) {
    const Tensor goals = goals_.contiguous();
    const double *state = states.const_data_ptr<double>(), *goal = goals.const_data_ptr<double>();
    for (double& reach : first_reach_) {
      for (int64_t t = 0; t < states.size(1); ++t, state += 4)
        if (std::isnan(reach) && distance({state[0], state[1]}, {goal[0], goal[1]}) <= maze2d_goal_radius)
          reach = static_cast<double>(first + t);
      goal += 2;
    }
  }

  Maze2dTask task_;
  Maze2dEnvironmentOptions options_;
  EnvironmentSpec spec_;
  std::unique_ptr<Maze2dBatch> worlds_;
  Tensor goals_;                           // [B, 2]
  std::vector<double> raw_, first_reach_;  // by world
  int64_t step_ = 0;
};

}  // namespace

int64_t episode_steps(const Maze2dTask& task, Protocol protocol) {
  constexpr int64_t longest_of_paper = 600;
  return protocol == Protocol::paper ? std::min(task.max_steps, longest_of_paper) : task.max_steps;
}

EnvironmentSpec maze2d_environment_spec(const Maze2dTask& task, const Maze2dEnvironmentOptions& options) {
  EnvironmentSpec spec;
  spec.task = task.id;
  spec.settings = {{"goals", options.multi ? "multi" : "single"}};
  spec.protocol = enum_name(options.protocol);
  spec.steps = episode_steps(task, options.protocol);
  spec.steps_a_second = 1.0 / maze2d_seconds_a_step;
  spec.observation = spec.record = 4;
  spec.action = spec.goal = 2;
  spec.action_low = {-1.0, -1.0};
  spec.action_high = {1.0, 1.0};
  spec.place = {"x", "y"};
  OutcomeSpec raw, normalized, reach;
  raw.key = raw.title = "raw";
  raw.better = normalized.better = drawing::Better::higher;
  normalized.key = "normalized";
  normalized.title = "normalised x 100";
  normalized.scale = 100.0;
  normalized.meaning = "0: D4RL's random policy, 1: its waypoint controller";
  reach.key = "first_reach";
  reach.title = "first reach, steps";
  reach.whole = true;
  reach.better = drawing::Better::lower;
  reach.share_key = reach.share_title = "reached";
  spec.outcomes = {raw, normalized, reach};
  return spec;
}

std::unique_ptr<Environment> make_maze2d_environment(const Maze2dTask& task, const Maze2dEnvironmentOptions& options) {
  return std::make_unique<Maze2dEnvironment>(task, options);
}

}  // namespace df
