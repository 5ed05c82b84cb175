// SPDX-License-Identifier: MIT
#include "diffusion_forcing/planning/guided_planner.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iterator>
#include <optional>
#include <utility>
#include <vector>

#include "core/require.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "planning/world_draws.hpp"

namespace df {

namespace {

class GuidedPlanner final : public Policy {
 public:
  GuidedPlanner(const GuidedPlannerConfig& config, const PlannerModel& trained, PlanTerms terms, PlanObserver observer)
      : config_(config),
        trained_(trained),
        codec_(trained.spec, terms.frame),
        terms_(std::move(terms)),
        observer_(std::move(observer)),
        device_(trained.model.device()) {
    check();
    codec_.to(device_);
  }

  void start(int64_t worlds, uint64_t seed, int64_t first_world) override {
    draws_.start(worlds, seed, first_world);
    step_ = steps_ = 0;
    followed_ = Tensor();
  }

  Decision act(const Situation& situation) override {
    draws_.check(situation);
    Decision decision;
    if (terms_.control && step_ < steps_) {
      decision.actions = terms_.control(plan_, step_++, situation.now.state);
      return decision;
    }
    const auto begin = std::chrono::steady_clock::now();
    const Tensor frames = plan(situation).to(at::kCPU, at::kDouble);  // [B, F, D]
    decision.planning_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    decision.plan =
        plan_ = {frames.narrow(2, 0, terms_.frame.observation), frames.narrow(2, terms_.frame.observation, terms_.frame.action)};
    steps_ = std::min(config_.open_loop, frames.size(1));
    step_ = 0;
    decision.actions =
        terms_.control ? terms_.control(plan_, step_++, situation.now.state) : within_bounds(plan_.actions.narrow(1, 0, steps_));
    return decision;
  }

  std::string describe() const override {
    const auto& g = config_.guidance;
    return fmt::format("diffusion forcing, {} S {}, {}", trained_.sampling.schedule, trained_.sampling.steps,
                       g.scale == 0 ? "no guidance" : fmt::format("guidance {} x {}", g.scale, g.branches));
  }

 private:
  void check() const {
    const Require require("planning");
    const int64_t F = codec_.frame_stack(), K = trained_.diffusion.config.levels;
    const bool whole_tokens = config_.open_loop % F == 0;
    require(config_.horizon >= 0 && config_.horizon % F == 0, "horizon", fmt::format("0 or a multiple of data.frame_stack {}", F),
            config_.horizon);
    require.at_least("open_loop", config_.open_loop, 1);
    require.at_least("candidates", config_.candidates, 1);
    require(config_.warm_start >= 0 && config_.warm_start <= K, "warm_start", fmt::format("0 to {} (diffusion.levels)", K),
            config_.warm_start);
    require(config_.warm_start == 0 || whole_tokens, "open_loop",
            fmt::format("a multiple of data.frame_stack {} with a warm start, which shifts whole tokens", F), config_.open_loop);
    require(!config_.keep || whole_tokens, "open_loop",
            fmt::format("a multiple of data.frame_stack {} with keep, which shifts whole tokens", F), config_.open_loop);
    require(config_.candidates == 1 || config_.guidance.form == GuidanceForm::gradient, "candidates",
            "1 with resampling, which chooses by itself", config_.candidates);
    const auto& kinds = EnumNames<MatrixKind>::table;
    const bool matrix_kind =
        std::any_of(std::begin(kinds), std::end(kinds), [&](const auto& kind) { return kind.first == trained_.sampling.schedule; });
    if (!matrix_kind)
      throw Error("sampling.schedule: expected " + enum_choices<MatrixKind>() + " for a planner, got '" + trained_.sampling.schedule + "'");
    if (guided()) validate(config_.guidance, trained_.sampling.sampler, "planning.guidance");
  }

  Tensor within_bounds(const Tensor& actions) const {
    if (terms_.action_low.empty()) return actions;
    return actions.clamp(at::tensor(terms_.action_low, at::kDouble), at::tensor(terms_.action_high, at::kDouble));
  }

  bool guided() const { return config_.guidance.scale != 0; }
  bool resamples() const { return guided() && config_.guidance.form == GuidanceForm::resample; }
  SchedulingMatrix matrix(int64_t tokens, int64_t warm_tokens) const {
    const auto& s = trained_.sampling;
    SchedulingMatrix full = make_matrix(enum_value<MatrixKind>(s.schedule, "sampling.schedule"), tokens,
                                        ladder(trained_.diffusion.config.levels, s.steps), s.slope);
    if (warm_tokens == 0) return full;
    // Tokens that start warm join their column where it comes down to their level; rows in which nothing moves any more are left out.
    SchedulingMatrix warm{0, tokens, {}};
    std::vector<int32_t> last;
    for (int64_t m = 0; m < full.rows; ++m) {
      std::vector<int32_t> row;
      for (int64_t t = 0; t < tokens; ++t)
        row.push_back(t < warm_tokens ? std::min(full.at(m, t), static_cast<int32_t>(config_.warm_start)) : full.at(m, t));
      if (row == last) continue;
      warm.level.insert(warm.level.end(), row.begin(), row.end());
      last = std::move(row);
      ++warm.rows;
    }
    return warm;
  }

  // Raw frames [B, F, D] of the plan that is followed.
  Tensor plan(const Situation& situation) {
    const c10::NoGradGuard no_grad;
    const int64_t ahead = config_.horizon > 0 ? std::min(config_.horizon, situation.steps_left) : situation.steps_left;
    const int64_t T = codec_.tokens_for(ahead), C = config_.candidates;
    if (terms_.set_goals && terms_.set_goals(situation.now.goal, device_)) sampler_.reset();
    const auto rows = [&](const Tensor& raw) { return raw.to(device_, at::kFloat).repeat_interleave(C, 0); };
    const Tensor states = rows(situation.now.state), goals = rows(situation.now.goal);
    SampleInput input;
    input.x = draws_.normal(C, shape({T}, trained_.model.token_shape())).to(device_);
    int64_t warm = 0;
    if (config_.warm_start > 0 && followed_.defined()) {
      const Tensor rest = rest_of_followed().repeat_interleave(C, 0);
      warm = std::min(T, rest.size(1));
      if (warm > 0) {
        const Tensor k = at::full({rest.size(0), warm}, config_.warm_start, at::TensorOptions(at::kLong).device(device_));
        const double clip = trained_.diffusion.config.clip_noise;
        input.x.narrow(1, 0, warm)
            .copy_(add_noise(trained_.diffusion.schedule, rest.narrow(1, 0, warm), k, input.x.narrow(1, 0, warm).clamp(-clip, clip)));
      }
    }
    input.z = trained_.model.initial_latent(draws_.worlds() * C, codec_.observation(states));
    input.noise = draws_.cell_noise(C, trained_.model.token_shape());
    PlanPolicy policy = trained_.sampling.policy;
    policy.row_order = guided() || observer_;
    const Plan steps = compile(matrix(T, warm), policy);
    followed_ = best(with_kept(run(steps, input, goals)), situation);
    draws_.next_plan();
    return codec_.frames(followed_);
  }

  // What the last plan has left when the next one is made, [B, tokens, token...].
  Tensor rest_of_followed() const { return followed_.slice(1, config_.open_loop / codec_.frame_stack()); }

  // Candidates [B n, T, token...], those of a world side by side, and behind them the rest of the plan followed so far: [B (n + 1), ...].
  Tensor with_kept(const Tensor& x) const {
    if (!config_.keep || !followed_.defined()) return x;
    Tensor rest = rest_of_followed();
    if (rest.size(1) == 0) return x;
    const int64_t missing = std::max<int64_t>(x.size(1) - rest.size(1), 0), B = draws_.worlds();
    rest = at::cat({rest, rest.narrow(1, rest.size(1) - 1, 1).repeat_interleave(missing, 1)}, 1).narrow(1, 0, x.size(1));
    return at::cat({x.unflatten(0, {B, x.size(0) / B}), rest.unsqueeze(1)}, 1).flatten(0, 1);
  }

  RowObserver row_observer() const {
    if (!observer_) return {};
    return [this](int64_t row, const Tensor& x) { observer_(row, codec_.frames(x.slice(0, 0, 1))[0].to(at::kCPU)); };
  }

  // Candidates [B C, T, token...].
  Tensor run(const Plan& steps, const SampleInput& input, const Tensor& goals) {
    if (!guided()) return sample(trained_.model, trained_.diffusion, steps, trained_.sampling.sampler, input, row_observer()).x;
    if (!goals_.defined() || goals_.sizes() != goals.sizes()) {
      goals_ = goals.clone();
      sampler_.reset();
    }
    goals_.copy_(goals);  // recordings read them where they are
    Guidance guidance;
    guidance.config = config_.guidance;
    guidance.seed = draws_.branch_seed();
    guidance.additive = terms_.additive && !resamples();
    guidance.reward = [this, goals = goals_](const Tensor& x0) {
      return value(terms_.reward, codec_.frames(x0), goals, "planning.reward");
    };
    if (resamples()) {
      const Particles particles = sample_particles(trained_.model, trained_.diffusion, steps, trained_.sampling.sampler, guidance, input);
      const Tensor winner = particles.reward.argmax(1);
      return particles.x.index({at::arange(draws_.worlds(), winner.options()), winner});
    }
    if (!sampler_) sampler_.emplace(trained_.model, trained_.diffusion, trained_.sampling.sampler, std::move(guidance));
    sampler_->set_seed(draws_.branch_seed());
    return sampler_->sample(steps, input, row_observer()).x;
  }

  static Tensor value(const PlanReward& reward, const Tensor& frames, const Tensor& goals, const char* name) {
    const Tensor values = reward(frames, goals);
    check_shape(values, name, {frames.size(0)});
    return values;
  }

  // Of candidates [B n, T, token...], those of a world side by side, one a world.
  Tensor best(const Tensor& x, const Situation& situation) const {
    const int64_t B = draws_.worlds(), n = x.size(0) / B;
    if (n == 1) return x;
    const auto rows = [&](const Tensor& raw) { return raw.to(device_, at::kFloat).repeat_interleave(n, 0); };
    Tensor frames = codec_.frames(x);
    if (terms_.choice_sees_present) {
      const Tensor now = at::constant_pad_nd(rows(situation.now.state), {0, codec_.frame_size() - terms_.frame.observation});
      frames = at::cat({now.unsqueeze(1), frames}, 1);
    }
    const Tensor values = value(terms_.choice, frames, rows(situation.now.goal), "planning.choice");
    if (!at::isfinite(values).all().item<bool>()) throw Error("planning.choice: expected finite values, got NaN or infinity");
    const Tensor winner = values.view({B, n}).argmax(1) + at::arange(B, at::TensorOptions(at::kLong).device(device_)) * n;
    return x.index_select(0, winner);
  }

  GuidedPlannerConfig config_;
  PlannerModel trained_;
  FrameCodec codec_;
  PlanTerms terms_;
  PlanObserver observer_;
  at::Device device_;
  WorldDraws draws_;
  std::optional<GuidedSampler> sampler_;
  Tensor goals_;                  // [B C, G] on the device
  Tensor followed_;               // [B, T, token...] the last plan
  Trajectory plan_;               // the same in raw units
  int64_t step_ = 0, steps_ = 0;  // of the plan: done, and to do before the next one
};

}  // namespace

std::unique_ptr<Policy> make_guided_planner(const GuidedPlannerConfig& config, const PlannerModel& trained, PlanTerms terms,
                                            PlanObserver observer) {
  return std::make_unique<GuidedPlanner>(config, trained, std::move(terms), std::move(observer));
}

}  // namespace df
