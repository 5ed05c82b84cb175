// SPDX-License-Identifier: MIT
#include "diffusion_forcing/planning/random_policy.hpp"

#include <ATen/ATen.h>

#include <vector>

#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/core/shape.hpp"
#include "diffusion_forcing/maze2d/numpy_random.hpp"

namespace df {

namespace {

class RandomPolicy : public Policy {
 public:
  void start(int64_t worlds, uint64_t seed, int64_t first_world) override {
    randoms_.clear();
    for (int64_t i = 0; i < worlds; ++i) randoms_.emplace_back(derive_seed(seed, Stream::sampling, static_cast<uint64_t>(first_world + i)));
  }

  // The whole episode at once.
  Decision act(const Situation& situation) override {
    const auto worlds = static_cast<int64_t>(randoms_.size());
    check_shape(situation.states, "states", {worlds, 4});
    Decision decision{at::empty({worlds, situation.steps_left, 2}, at::kDouble), {}, 0.0};
    double* to = decision.actions.mutable_data_ptr<double>();
    for (auto& random : randoms_)
      for (int64_t n = 0; n < 2 * situation.steps_left; ++n) *to++ = random.uniform(-1.0, 1.0);
    return decision;
  }

  std::string describe() const override { return "uniform random actions"; }

 private:
  std::vector<NumpyRandom> randoms_;
};

}  // namespace

std::unique_ptr<Policy> make_random_policy() { return std::make_unique<RandomPolicy>(); }

}  // namespace df
