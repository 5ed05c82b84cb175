// SPDX-License-Identifier: MIT
// The worlds that a planner plans for and their random numbers: what is drawn for a world follows from (seed, world, plan) alone, whatever
// the batch.
#pragma once

#include <cstdint>

#include "diffusion_forcing/core/shape.hpp"
#include "diffusion_forcing/planning/policy.hpp"
#include "diffusion_forcing/sampling/sampler.hpp"

namespace df {

class WorldDraws {
 public:
  void start(int64_t worlds, uint64_t seed, int64_t first_world);  // plan 0
  void next_plan() { ++plan_; }
  int64_t worlds() const { return worlds_; }
  // Throws df::Error where the situation is of another number of worlds.
  void check(const Situation& situation) const;
  // `rows` rows of each world, those of a world side by side: standard normal [worlds * rows, each...], on the CPU.
  Tensor normal(int64_t rows, const Shape& each) const;
  // The solver's noise for the same rows. Must not outlive the object.
  CellNoise cell_noise(int64_t rows, const Shape& token) const;
  uint64_t branch_seed() const { return seed(Draw::branches, first_world_); }  // one for the whole batch

 private:
  enum class Draw : uint64_t { tokens, cells, branches };
  uint64_t seed(Draw draw, int64_t world) const;
  int64_t worlds_ = 0, first_world_ = 0, plan_ = 0;
  uint64_t seed_ = 0;
};

}  // namespace df
