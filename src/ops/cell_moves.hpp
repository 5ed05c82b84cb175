// SPDX-License-Identifier: MIT
// What a step of a sampling plan does to its cells before and after the model call, by the numbers of a table (ops/cell_table.hpp): kernels
// (cuda/cell_moves.cu) or tensor operators (ops/cell_moves_plain.cpp). No gradients flow through.
#pragma once

#include "diffusion_forcing/core/tensor.hpp"
#include "ops/cell_table.hpp"

namespace df::ops {

// Of the prediction, and of x0, which then stands for the prediction in eps. Infinite: none.
struct CellBounds {
  double prediction, x0;
};
// What the model is called with for the cells of a CellTable: a row for each of each sequence.
struct CellInputs {
  Tensor shown, z, level;  // float32 [B n, token...], float32 [B n, latent...], int64 [B n]
};
struct CellOutputs {
  Tensor shown;          // as it went in
  Tensor prediction, z;  // [B n, token...], [B n, latent...], float32 or bfloat16
  Tensor noise;          // float32 [B, n, token...], or undefined: 0
};

// x float32 [B, slots, token...], z float32 [B, slots, latent...], dense; the table int32 [CellTable::rows, n] beside them.
// The model's inputs for the cells of the table.
CellInputs gather_cells(const Tensor& table, const Tensor& x, const Tensor& z);
// Writes what the model's outputs make of them into x and z.
void move_cells(const Tensor& table, const CellOutputs& outputs, const CellBounds& bounds, const Tensor& x, const Tensor& z);

namespace plain {
CellInputs gather_cells(const Tensor& table, const Tensor& x, const Tensor& z);
void move_cells(const Tensor& table, const CellOutputs& outputs, const CellBounds& bounds, const Tensor& x, const Tensor& z);
}  // namespace plain

class CellKernels {
 public:
  virtual ~CellKernels() = default;
  virtual CellInputs gather_cells(const Tensor& table, const Tensor& x, const Tensor& z) const = 0;
  virtual void move_cells(const Tensor& table, const CellOutputs& outputs, const CellBounds& bounds, const Tensor& x,
                          const Tensor& z) const = 0;
};

}  // namespace df::ops
