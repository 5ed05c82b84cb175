// SPDX-License-Identifier: MIT
// What a step does to its cells before and after the model call, reduced to numbers of each cell: the slots it reads and writes, and the
// factors by which x, prediction and noise enter (ops/cell_table.hpp). The host makes them from levels; a recorded step reads
// them from device memory and has no coefficient left to compute.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "diffusion_forcing/sampling/sampler.hpp"
#include "ops/cell_moves.hpp"

namespace df {

// What a step works on: the buffers of a StepExecutor, each with one more slot at the end that nobody reads.
struct StepBuffers {
  Tensor x, z, c;  // [B, slots + 1, token...], [B, slots + 2, latent...], [B, slots + 1, C] or undefined
  int64_t slots() const { return x.size(1) - 1; }
  std::vector<int64_t> cells(int64_t n) const {  // [B, n, token...]
    auto sizes = x.sizes().vec();
    sizes[1] = n;
    return sizes;
  }
};

// Makes the tables of a sampler's steps, on the host.
class CellTables {
 public:
  CellTables(const Diffusion& diffusion, const SamplerConfig& config);
  // `width` cells, of which those beyond the step's work on the spare slots. Steps with cells that are noised anew or clamped have no
  // table.
  Tensor of(const PlanStep& step, int64_t width, int64_t slots);
  const ops::CellBounds& bounds() const { return bounds_; }  // that all moves have in common

 private:
  struct Move {
    float x0, eps, noise;
  };
  const Move& move(int64_t from, int64_t to);

  Diffusion diffusion_;  // on the host
  Solver solver_;
  double eta_;
  ops::CellBounds bounds_;
  std::vector<Tensor> decoding_;                       // factors of x and prediction in x0, then in eps, each [K + 1]
  std::map<std::pair<int64_t, int64_t>, Move> moves_;  // schedules repeat the same ones for token after token
};

}  // namespace df
