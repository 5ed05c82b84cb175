// SPDX-License-Identifier: MIT
// Scheduling matrices of any shape: plateaus, waiting and early finishes are as likely as moves.
#pragma once

#include <algorithm>
#include <random>
#include <vector>

#include "diffusion_forcing/sampling/scheduling_matrix.hpp"

namespace df::test {

inline SchedulingMatrix random_matrix(std::mt19937& random, int64_t K) {
  const int64_t T = 1 + random() % 6, M = 2 + random() % 8;
  SchedulingMatrix matrix{M + 1, T, std::vector<int32_t>(static_cast<size_t>((M + 1) * T))};
  for (int64_t t = 0; t < T; ++t) {
    std::vector<int32_t> column{static_cast<int32_t>(K), 0};
    while (static_cast<int64_t>(column.size()) < M + 1) {
      const int32_t choices[] = {static_cast<int32_t>(K), 0, static_cast<int32_t>(random() % (K + 1)), column[random() % column.size()]};
      column.push_back(choices[random() % 4]);
    }
    std::sort(column.rbegin(), column.rend());
    for (int64_t m = 0; m <= M; ++m) matrix.level[static_cast<size_t>(m * T + t)] = column[static_cast<size_t>(m)];
  }
  return matrix;
}

}  // namespace df::test
