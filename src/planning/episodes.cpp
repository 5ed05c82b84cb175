// SPDX-License-Identifier: MIT
#include "diffusion_forcing/planning/episodes.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/shape.hpp"

namespace df {

namespace {

std::vector<double> row_of(const Tensor& all, int64_t row) {
  if (!all.defined()) return {};
  const Tensor one = all[row].to(at::kCPU, at::kDouble).contiguous();
  return {one.const_data_ptr<double>(), one.const_data_ptr<double>() + one.numel()};
}

// What an environment shows is what its spec says.
void check(const Observation& seen, const EnvironmentSpec& spec, int64_t worlds) {
  const auto name = [&](const std::string& what) { return spec.task + ": " + what; };
  if (spec.observation > 0) check_shape(seen.state, name("state"), {worlds, spec.observation});
  if (spec.goal > 0) check_shape(seen.goal, name("goal"), {worlds, spec.goal});
  const auto cameras = static_cast<int64_t>(spec.cameras.size());
  if (seen.images.size() != spec.cameras.size())
    throw Error(fmt::format("{}: expected images of {} cameras, got {}", spec.task, cameras, seen.images.size()));
  for (size_t i = 0; i < spec.cameras.size(); ++i)
    check_shape(seen.images[i], name("image of " + spec.cameras[i].name), {worlds, 3, spec.cameras[i].height, spec.cameras[i].width});
  if (seen.missing.defined()) check_shape(seen.missing, name("missing"), {worlds, cameras});
}

// Worlds of one batch: episodes first .. first + worlds - 1.
class EpisodeBatch {
 public:
  EpisodeBatch(Environment& environment, Policy& policy, const EpisodeConfig& config, int64_t first, int64_t recorded,
               EpisodeReport& report)
      : environment_(environment),
        spec_(report.environment),
        policy_(policy),
        first_(first),
        recorded_(recorded),
        size_(std::min(config.batch, config.episodes - first)),
        report_(report),
        records_(at::empty({size_, report.steps + 1, spec_.record}, at::kDouble)) {
    environment.reset(config.seed, first, size_);
    see();
    start_ = now_.state;
    goal_ = now_.goal;
    records_.select(1, 0).copy_(environment.record());
    policy.start(size_, config.seed, first);
  }

  int64_t size() const { return size_; }
  int64_t step() const { return step_; }

  // Until the policy is to be asked again.
  void decide() {
    const int64_t left = report_.steps - step_;
    const Decision decision = policy_.act({now_, step_, left, earlier_});
    record(decision);
    execute(checked(decision.actions).narrow(1, 0, std::min(left, decision.actions.size(1))));
  }

  std::vector<Episode> episodes(uint64_t seed) const {
    const Tensor outcome = environment_.outcome();
    check_shape(outcome, spec_.task + ": outcome", {size_, static_cast<int64_t>(spec_.outcomes.size())});
    std::vector<Episode> all;
    for (int64_t i = 0; i < size_; ++i)
      all.push_back({.seed = seed + static_cast<uint64_t>(first_ + i),
                     .record = records_[i].clone(),
                     .start = row_of(start_, i),
                     .goal = row_of(goal_, i),
                     .outcome = row_of(outcome, i)});
    return all;
  }

 private:
  void see() {
    now_ = environment_.observe();
    check(now_, spec_, size_);
  }

  // All at once, but one by one where the policy wants to see what lies between.
  void execute(const Tensor& actions) {
    const int64_t wanted = policy_.earlier(), n = actions.size(1);
    for (int64_t done = 0, piece = 0; done < n; done += piece) {
      piece = done == 0 ? std::max<int64_t>(1, n - wanted) : 1;
      if (wanted > 0) earlier_.push_back(now_);
      const auto steps = environment_.step(actions.narrow(1, done, piece).contiguous());
      check_shape(steps.rewards, spec_.task + ": rewards", {size_, piece});
      check_shape(steps.records, spec_.task + ": records", {size_, piece, spec_.record});
      records_.narrow(1, step_ + 1, piece).copy_(steps.records);
      step_ += piece;
      if (step_ < report_.steps) see();
    }
    const auto seen = static_cast<int64_t>(earlier_.size());
    earlier_.erase(earlier_.begin(), earlier_.begin() + std::max<int64_t>(0, seen - wanted));
  }

  Tensor checked(const Tensor& actions) const {
    const auto name = [&] { return fmt::format("policy {}: step {}: ", report_.description, step_); };
    if (!actions.defined() || actions.dim() != 3 || actions.size(0) != size() || actions.size(1) < 1 || actions.size(2) != spec_.action ||
        !actions.is_floating_point())
      throw Error(fmt::format(
          "{}expected floating point actions of shape [{}, n, {}] with n >= 1, got {}", name(), size(), spec_.action,
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
    check_shape(plan.observations, "policy " + report_.description + ": planned observations", {size(), -1, spec_.observation});
    for (int64_t i = 0; i < std::min(size(), recorded_ - first_); ++i) {
      const auto row = [&](const Tensor& all) { return all.defined() ? all.narrow(0, i, 1).detach().to(at::kCPU, false, true) : Tensor(); };
      report_.plans.push_back({first_ + i, step_, {row(plan.observations), row(plan.actions)}});
    }
  }

  Environment& environment_;
  const EnvironmentSpec& spec_;
  Policy& policy_;
  int64_t first_, recorded_, size_;
  EpisodeReport& report_;
  Tensor records_;  // [B, S + 1, R]
  Tensor start_, goal_;
  Observation now_;
  std::vector<Observation> earlier_;
  int64_t step_ = 0;
};

}  // namespace

void validate(const EpisodeConfig& config) {
  const auto check = [](const char* field, int64_t value, int64_t least) {
    if (value < least) throw Error(fmt::format("{}: expected {} or more, got {}", field, least, value));
  };
  check("episodes", config.episodes, 1);
  check("steps", config.steps, 0);
  check("batch", config.batch, 1);
}

EpisodeReport run_episodes(Environment& environment, Policy& policy, const EpisodeConfig& config, int64_t recorded,
                           const EpisodeProgress& progress) {
  validate(config);
  EpisodeReport report{.policy = policy.describe(),
                       .description = policy.describe(),
                       .environment = environment.spec(),
                       .steps = config.steps > 0 ? config.steps : environment.spec().steps,
                       .episodes = {},
                       .plans = {},
                       .replannings = {}};
  const auto all = static_cast<double>(config.episodes * report.steps);
  for (int64_t first = 0; first < config.episodes; first += config.batch) {
    EpisodeBatch batch(environment, policy, config, first, recorded, report);
    while (batch.step() < report.steps) {
      batch.decide();
      const int64_t done = first * report.steps + batch.size() * batch.step();
      if (progress && !progress(static_cast<double>(done) / all))
        throw Error(fmt::format("stopped in episode {} of {}", first + 1, config.episodes));
    }
    for (auto& episode : batch.episodes(config.seed)) report.episodes.push_back(std::move(episode));
  }
  return report;
}

}  // namespace df
