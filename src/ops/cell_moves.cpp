// SPDX-License-Identifier: MIT
#include "ops/cell_moves.hpp"

#include "ops/kernels.hpp"

namespace df::ops {

CellInputs gather_cells(const Tensor& table, const Tensor& x, const Tensor& z) {
  const auto* own = kernels(table.device()).cells;
  return own ? own->gather_cells(table, x, z) : plain::gather_cells(table, x, z);
}

void move_cells(const Tensor& table, const CellOutputs& outputs, const CellBounds& bounds, const Tensor& x, const Tensor& z) {
  if (const auto* own = kernels(table.device()).cells)
    own->move_cells(table, outputs, bounds, x, z);
  else
    plain::move_cells(table, outputs, bounds, x, z);
}

}  // namespace df::ops
