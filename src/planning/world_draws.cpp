// SPDX-License-Identifier: MIT
#include "planning/world_draws.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <vector>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/seed.hpp"

namespace df {

void WorldDraws::start(int64_t worlds, uint64_t seed, int64_t first_world) {
  worlds_ = worlds;
  seed_ = seed;
  first_world_ = first_world;
  plan_ = 0;
}

void WorldDraws::check(const Situation& situation) const {
  if (situation.now.state.size(0) != worlds_)
    throw Error(fmt::format("planner: expected the {} worlds of start(), got {}", worlds_, situation.now.state.size(0)));
}

Tensor WorldDraws::normal(int64_t rows, const Shape& each) const {
  std::vector<Tensor> all;
  for (int64_t b = 0; b < worlds_; ++b) all.push_back(seeded_normal(shape({rows}, each), seed(Draw::tokens, first_world_ + b)));
  return at::cat(all);
}

CellNoise WorldDraws::cell_noise(int64_t rows, const Shape& token) const {
  return [this, rows, token](const PlanStep& cells) {
    std::vector<Tensor> all;
    for (int64_t b = 0; b < worlds_; ++b)
      all.push_back(seeded_cell_noise(seed(Draw::cells, first_world_ + b), shape({rows}, token))(cells));
    return at::cat(all);
  };
}

uint64_t WorldDraws::seed(Draw draw, int64_t world) const {
  return derive_seed(seed_, {static_cast<uint64_t>(draw), static_cast<uint64_t>(world), static_cast<uint64_t>(plan_)});
}

}  // namespace df
