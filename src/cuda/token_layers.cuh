// SPDX-License-Identifier: MIT
// Layers that are applied to token after token of a small batch, all in one kernel, on raw memory.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

namespace df::cuda {

// Element (token, row, column) is data[token * to_token + row * to_row + column]. Null data: absent.
struct TokenMatrix {
  __nv_bfloat16* data;
  int to_row, to_token;
};

enum class TokenLayerKind : int { dense, gru, gru_backward };

// out = (x w^T + bias + residual) gelu'(slope); gelu = gelu(out) for the first `gelu_columns`. Of the other kinds see TokenCellShape.
struct TokenLayerShape {
  TokenMatrix x, residual, slope, out, gelu;
  const __nv_bfloat16 *w, *bias;  // [columns][w_stride], [columns] or null
  int inputs, columns, w_stride, gelu_columns;
  TokenLayerKind kind;
  int subtiles;  // filled in by the launch: groups of eight columns that a block computes at a time
};

// gru: x w^T + bias is from_x [3 units], y the next state. gru_backward: x w^T + bias is the gradient of y; that of z is added to dz.
struct TokenCellShape {
  TokenMatrix from_x, from_z, z, y, dfrom_x, dfrom_z, dz;
};

constexpr int most_token_layers = 24;
constexpr int token_tile = 16;  // rows that a group of blocks computes on its own

struct TokenNetwork {
  TokenLayerShape layers[most_token_layers];
  TokenCellShape cell;
  int count, tokens, rows, units;
  bool reverse;
  unsigned* arrived;  // one counter a tile of rows, 0 at the start
};

// All blocks are resident at once.
cudaError_t token_layers(TokenNetwork network, int multiprocessors, cudaStream_t stream);

}  // namespace df::cuda
