// SPDX-License-Identifier: MIT
#include "diffusion_forcing/maze2d/diffuser_planner.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>
#include <vector>

#include "core/require.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "maze2d/tracking.hpp"
#include "planning/world_draws.hpp"

namespace df {

namespace {

class DiffuserPlanner final : public Policy {
 public:
  DiffuserPlanner(const DiffuserPlannerConfig& config, const PlannerModel& trained, PlanObserver observer)
      : config_(config), trained_(trained), observer_(std::move(observer)), device_(trained.model.device()) {
    const auto& spec = trained_.spec;
    const Shape token = trained_.model.token_shape();
    if (token.size() != 2 || token[1] != 6 || trained_.model.condition_dim() != 8 || spec.frame_mean.size() != 6)
      throw Error(
          fmt::format("planner: expected a Diffuser model (one token of [H, 6], condition of 8 numbers), got tokens {} and {} numbers",
                      to_string(token), trained_.model.condition_dim()));
    const Require require("planning");
    require.at_least("open_loop", config_.open_loop, 0);
    require.finite("p", config_.p);
    require.finite("d", config_.d);
    horizon_ = token[0];
    mean_ = at::tensor(spec.frame_mean, at::kDouble);
    std_ = at::tensor(spec.frame_std, at::kDouble);
  }

  void start(int64_t worlds, uint64_t seed, int64_t first_world) override {
    draws_.start(worlds, seed, first_world);
    tracked_.reset();
    goal_ = Tensor();
  }

  Decision act(const Situation& situation) override {
    draws_.check(situation);
    Decision decision;
    if (!goal_.defined() || (config_.open_loop > 0 && since_plan_ >= config_.open_loop)) {
      const auto begin = std::chrono::steady_clock::now();
      const Tensor frames = plan(situation);  // [B, H, 6]
      decision.planning_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
      const Tensor observations = frames.narrow(2, 0, 4);
      actions_ = frames.narrow(2, 4, 2);
      decision.plan = {observations.narrow(1, 1, horizon_ - 1), actions_.narrow(1, 0, horizon_ - 1)};
      tracked_.emplace(decision.plan.observations, config_.p, config_.d);
      goal_ = at::cat({observations.select(1, horizon_ - 1).narrow(1, 0, 2), at::zeros({draws_.worlds(), 2}, at::kDouble)}, 1);
      since_plan_ = 0;
    }
    decision.actions = next_action(situation.now.state);
    ++since_plan_;
    return decision;
  }

  std::string describe() const override {
    return fmt::format("Diffuser, {} frames, {} steps{}", horizon_, trained_.sampling.steps,
                       config_.execution == Execution::actions ? ", diffused actions" : "");
  }

 private:
  Tensor next_action(const Tensor& states) {
    if (config_.execution == Execution::actions) {
      if (since_plan_ < horizon_) return actions_.narrow(1, since_plan_, 1).clamp(-1, 1);
      return (-states.narrow(1, 2, 2)).clamp(-1, 1).unsqueeze(1);
    }
    if (!tracked_->finished()) return tracked_->act(states);
    return TrackedPlan(goal_.unsqueeze(1), config_.p, config_.d).act(states);
  }

  // Raw frames [B, H, 6] float64 on the CPU.
  Tensor plan(const Situation& situation) {
    const c10::NoGradGuard no_grad;
    const Tensor mean = mean_.narrow(0, 0, 4), std = std_.narrow(0, 0, 4);
    const Tensor goal = at::cat({situation.now.goal, at::zeros_like(situation.now.goal)}, 1);
    SampleInput input;
    input.c = at::cat({(situation.now.state - mean) / std, (goal - mean) / std}, 1).to(device_, at::kFloat).unsqueeze(1);
    const Shape token = trained_.model.token_shape();
    input.x = draws_.normal(1, token).unsqueeze(1).to(device_);
    input.z = trained_.model.initial_latent(draws_.worlds(), {});
    input.noise = draws_.cell_noise(1, token);
    PlanPolicy policy = trained_.sampling.policy;
    policy.row_order = static_cast<bool>(observer_);
    const auto matrix = make_matrix(MatrixKind::full_sequence, 1, ladder(trained_.diffusion.config.levels, trained_.sampling.steps), 0.0);
    const auto frames_of = [this](const Tensor& x) { return x.select(1, 0).to(at::kCPU, at::kDouble).clamp(-1, 1) * std_ + mean_; };
    RowObserver on_row;
    if (observer_) on_row = [&](int64_t row, const Tensor& x) { observer_(row, frames_of(x.narrow(0, 0, 1))[0]); };
    const Tensor x = sample(trained_.model, trained_.diffusion, compile(matrix, policy), trained_.sampling.sampler, input, on_row).x;
    draws_.next_plan();
    return frames_of(x);
  }

  DiffuserPlannerConfig config_;
  PlannerModel trained_;
  PlanObserver observer_;
  at::Device device_;
  int64_t horizon_ = 0;
  Tensor mean_, std_;  // float64 [6]
  WorldDraws draws_;
  int64_t since_plan_ = 0;
  std::optional<TrackedPlan> tracked_;
  Tensor actions_;  // [B, H, 2] of the plan
  Tensor goal_;     // [B, 4] the plan's last position, at rest; undefined before the first plan
};

}  // namespace

std::unique_ptr<Policy> make(const DiffuserPlannerConfig& config, const PlannerModel& trained, PlanObserver observer) {
  return std::make_unique<DiffuserPlanner>(config, trained, std::move(observer));
}

}  // namespace df
