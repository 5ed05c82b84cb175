// SPDX-License-Identifier: MIT
// Many mazes of one layout, stepped side by side. What happens in a world does not depend on the others, nor on the number of threads.
#pragma once

#include <cstdint>
#include <memory>

#include "diffusion_forcing/core/tensor.hpp"
#include "diffusion_forcing/maze2d/maze2d.hpp"

namespace df {

// Many worlds of one maze that are stepped together, by several threads.
class Maze2dBatch {
 public:
  // threads 0 or 1: the caller's own. Throws df::Error for fewer than one world.
  Maze2dBatch(const Maze2dLayout& layout, int64_t worlds, int64_t threads = 1, const Maze2dOptions& options = {});
  ~Maze2dBatch();

  int64_t size() const;
  // World i starts as gym's environment that is seeded with seed + i. `random_targets` (the multi task) draws a target after the start from
  // the same generator, else targets stay.
  void reset(uint64_t seed, bool random_targets = false);
  void set_states(const Tensor& states);    // [N, 4]
  void set_targets(const Tensor& targets);  // [N, 2]
  Tensor states() const;                    // [N, 4] float64
  Tensor targets() const;                   // [N, 2] float64

  // actions [N, 2] floating point -> rewards [N] float64. Throws df::Error for misshapen actions and, naming the world, for those that are
  // not finite.
  Tensor step(const Tensor& actions);
  // What several steps gave.
  struct Steps {
    Tensor rewards;  // [N, S] float64
    Tensor states;   // [N, S, 4] float64, after each step
  };
  // S steps at once: actions [N, S, 2].
  Steps run(const Tensor& actions);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace df
