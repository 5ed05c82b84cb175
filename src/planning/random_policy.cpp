// SPDX-License-Identifier: MIT
#include "diffusion_forcing/planning/random_policy.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <vector>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/numpy_random.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/core/shape.hpp"

namespace df {

namespace {

class RandomPolicy final : public Policy {
 public:
  explicit RandomPolicy(const EnvironmentSpec& environment) : environment_(environment) {
    const auto bounds = static_cast<size_t>(environment.action);
    if (environment.action_low.size() != bounds || environment.action_high.size() != bounds)
      throw Error(fmt::format("{}: expected bounds of {} numbers of an action for random actions, got {} and {}", environment.task, bounds,
                              environment.action_low.size(), environment.action_high.size()));
  }

  void start(int64_t worlds, uint64_t seed, int64_t first_world) override {
    randoms_.clear();
    for (int64_t i = 0; i < worlds; ++i) randoms_.emplace_back(derive_seed(seed, Stream::sampling, static_cast<uint64_t>(first_world + i)));
  }

  // The whole episode at once.
  Decision act(const Situation& situation) override {
    const auto worlds = static_cast<int64_t>(randoms_.size());
    if (environment_.observation > 0) check_shape(situation.now.state, "states", {worlds, environment_.observation});
    Decision decision{at::empty({worlds, situation.steps_left, environment_.action}, at::kDouble), {}, 0.0};
    double* to = decision.actions.mutable_data_ptr<double>();
    for (auto& random : randoms_)
      for (int64_t step = 0; step < situation.steps_left; ++step)
        for (size_t a = 0; a < environment_.action_low.size(); ++a)
          *to++ = random.uniform(environment_.action_low[a], environment_.action_high[a]);
    return decision;
  }

  std::string describe() const override { return "uniform random actions"; }

 private:
  EnvironmentSpec environment_;
  std::vector<NumpyRandom> randoms_;
};

}  // namespace

std::unique_ptr<Policy> make_random_policy(const EnvironmentSpec& environment) { return std::make_unique<RandomPolicy>(environment); }

}  // namespace df
