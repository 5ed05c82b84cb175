// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

namespace df {

// The n cells of a step of a sampling plan: int32 [rows, n]. First the slots that a cell reads x and z from and writes them to, and its
// noise level; then float32 factors, by their bits:
//   shown = show x,  x0 = x0_x shown + x0_prediction prediction,  eps = eps_x shown + eps_prediction prediction
//   x' = to_x0 x0 + to_eps eps + to_noise noise
struct CellTable {
  enum Row : int64_t { token, z_in, z_out, x_out, level, show, x0_x, x0_prediction, eps_x, eps_prediction, to_x0, to_eps, to_noise, rows };
};

}  // namespace df
