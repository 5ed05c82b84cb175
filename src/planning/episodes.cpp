// SPDX-License-Identifier: MIT
#include "diffusion_forcing/planning/episodes.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/shape.hpp"
#include "diffusion_forcing/maze2d/maze2d_batch.hpp"

namespace df {

namespace {

// Worlds of one batch: episodes first .. first + worlds - 1.
class EpisodeBatch {
 public:
  EpisodeBatch(const Maze2dTask& task, Policy& policy, const EpisodeConfig& config, int64_t first, int64_t recorded, EpisodeReport& report)
      : task_(task),
        policy_(policy),
        first_(first),
        recorded_(recorded),
        report_(report),
        worlds_(task.maze(), std::min(config.batch, config.episodes - first), config.threads,
                {.dense = task.dense, .physics = config.physics}),
        rewards_(at::empty({worlds_.size(), report.steps}, at::kDouble)),
        states_(at::empty({worlds_.size(), report.steps + 1, 4}, at::kDouble)) {
    worlds_.reset(config.seed + static_cast<uint64_t>(first), config.multi);
    goals_ = worlds_.targets();
    states_.select(1, 0).copy_(worlds_.states());
    policy_.start(worlds_.size(), config.seed, first);
  }

  int64_t size() const { return worlds_.size(); }
  int64_t step() const { return step_; }

  // Until the policy is to be asked again.
  void decide() {
    const int64_t left = report_.steps - step_;
    const Decision decision = policy_.act({worlds_.states(), goals_, step_, left});
    record(decision);
    const Tensor actions = checked(decision.actions).narrow(1, 0, std::min(left, decision.actions.size(1)));
    const auto done = worlds_.run(actions);
    rewards_.narrow(1, step_, actions.size(1)).copy_(done.rewards);
    states_.narrow(1, step_ + 1, actions.size(1)).copy_(done.states);
    step_ += actions.size(1);
  }

  Episode episode(int64_t world, uint64_t seed) const {
    Episode episode;
    episode.seed = seed + static_cast<uint64_t>(first_ + world);
    episode.states = states_[world].clone();
    const double *state = episode.states.const_data_ptr<double>(), *goal = goals_.const_data_ptr<double>() + 2 * world;
    std::copy(state, state + 4, episode.start.begin());
    episode.goal = {goal[0], goal[1]};
    const double* reward = rewards_.const_data_ptr<double>() + report_.steps * world;
    for (int64_t t = 0; t < report_.steps; ++t) episode.raw += reward[t];
    episode.normalized = normalized_score(task_, episode.raw);
    for (int64_t t = 0; t <= report_.steps && episode.first_reach < 0; ++t, state += 4)
      if (distance({state[0], state[1]}, episode.goal) <= maze2d_goal_radius) episode.first_reach = t;
    return episode;
  }

 private:
  Tensor checked(const Tensor& actions) const {
    const auto name = [&] { return fmt::format("policy {}: step {}: ", report_.description, step_); };
    if (!actions.defined() || actions.dim() != 3 || actions.size(0) != size() || actions.size(1) < 1 || actions.size(2) != 2 ||
        !actions.is_floating_point())
      throw Error(fmt::format(
          "{}expected floating point actions of shape [{}, n, 2] with n >= 1, got {}", name(), size(),
          !actions.defined() ? "none" : fmt::format("{} {}", c10::toString(actions.scalar_type()), to_string(actions.sizes().vec()))));
    const Tensor all = actions.detach().to(at::kCPU, at::kDouble).contiguous();
    const Tensor good = all.isfinite().flatten(1).all(1);
    for (int64_t i = 0; i < size(); ++i)
      if (!good[i].item<bool>()) {
        const Tensor bad = all[i].masked_select(all[i].isfinite().logical_not());
        throw Error(fmt::format("{}world {}: expected finite actions, got {}", name(), first_ + i, bad[0].item<double>()));
      }
    return all;
  }

  void record(const Decision& decision) {
    if (decision.planning_seconds > 0) report_.replannings.push_back({decision.planning_seconds, size()});
    const auto& plan = decision.plan;
    if (!plan.observations.defined()) return;
    check_shape(plan.observations, "policy " + report_.description + ": planned observations", {size(), -1, 4});
    for (int64_t i = 0; i < std::min(size(), recorded_ - first_); ++i) {
      const auto row = [&](const Tensor& all) { return all.defined() ? all.narrow(0, i, 1).detach().to(at::kCPU, false, true) : Tensor(); };
      report_.plans.push_back({first_ + i, step_, {row(plan.observations), row(plan.actions)}});
    }
  }

  const Maze2dTask& task_;
  Policy& policy_;
  int64_t first_, recorded_;
  EpisodeReport& report_;
  Maze2dBatch worlds_;
  Tensor rewards_, states_;  // [B, S], [B, S + 1, 4]
  Tensor goals_;             // [B, 2]
  int64_t step_ = 0;
};

}  // namespace

int64_t episode_steps(const Maze2dTask& task, Protocol protocol) {
  constexpr int64_t longest_of_paper = 600;
  return protocol == Protocol::paper ? std::min(task.max_steps, longest_of_paper) : task.max_steps;
}

void validate(const EpisodeConfig& config) {
  const auto check = [](const char* field, int64_t value, int64_t least) {
    if (value < least) throw Error(fmt::format("{}: expected {} or more, got {}", field, least, value));
  };
  check("episodes", config.episodes, 1);
  check("steps", config.steps, 0);
  check("batch", config.batch, 1);
  check("threads", config.threads, 0);
}

EpisodeReport run_episodes(const Maze2dTask& task, Policy& policy, const EpisodeConfig& config, int64_t recorded,
                           const EpisodeProgress& progress) {
  validate(config);
  EpisodeReport report{.policy = policy.describe(),
                       .description = policy.describe(),
                       .task = task.id,
                       .protocol = config.protocol,
                       .multi = config.multi,
                       .steps = config.steps > 0 ? config.steps : episode_steps(task, config.protocol),
                       .episodes = {},
                       .plans = {},
                       .replannings = {}};
  const auto all = static_cast<double>(config.episodes * report.steps);
  for (int64_t first = 0; first < config.episodes; first += config.batch) {
    EpisodeBatch batch(task, policy, config, first, recorded, report);
    while (batch.step() < report.steps) {
      batch.decide();
      const int64_t done = first * report.steps + batch.size() * batch.step();
      if (progress && !progress(static_cast<double>(done) / all))
        throw Error(fmt::format("stopped in episode {} of {}", first + 1, config.episodes));
    }
    for (int64_t i = 0; i < batch.size(); ++i) report.episodes.push_back(batch.episode(i, config.seed));
  }
  return report;
}

}  // namespace df
