// SPDX-License-Identifier: MIT
#include <ATen/ATen.h>

#include <cmath>
#include <vector>

#include "ops/cell_moves.hpp"

namespace df::ops {

namespace {

Tensor as_floats(const Tensor& table, int64_t row) { return table[row].view(at::kFloat); }
Tensor as_index(const Tensor& table, int64_t row) { return table[row].to(at::kLong); }

// A row of factors, to multiply x [B, n, token...] with.
Tensor factors(const Tensor& table, int64_t row, const Tensor& x) {
  std::vector<int64_t> sizes(static_cast<size_t>(x.dim()), 1);
  sizes[1] = table.size(1);
  return as_floats(table, row).view(sizes);
}

Tensor bounded(const Tensor& x, double bound) { return std::isinf(bound) ? x : x.clamp(-bound, bound); }

}  // namespace

namespace plain {

CellInputs gather_cells(const Tensor& table, const Tensor& x, const Tensor& z) {
  const Tensor tokens = x.index_select(1, as_index(table, CellTable::token)), latents = z.index_select(1, as_index(table, CellTable::z_in));
  const Tensor level = as_index(table, CellTable::level).expand({x.size(0), -1});
  return {(tokens * factors(table, CellTable::show, tokens)).flatten(0, 1), latents.flatten(0, 1), level.flatten()};
}

void move_cells(const Tensor& table, const CellOutputs& outputs, const CellBounds& bounds, const Tensor& x, const Tensor& z) {
  const auto cells = [&](const Tensor& rows) { return rows.to(at::kFloat).unflatten(0, {x.size(0), table.size(1)}); };
  const Tensor shown = cells(outputs.shown);
  const auto factor = [&](CellTable::Row row) { return factors(table, row, shown); };
  Tensor prediction = bounded(cells(outputs.prediction), bounds.prediction);
  const Tensor x0 = bounded(factor(CellTable::x0_x) * shown + factor(CellTable::x0_prediction) * prediction, bounds.x0);
  if (!std::isinf(bounds.x0)) prediction = x0;
  const Tensor eps = factor(CellTable::eps_x) * shown + factor(CellTable::eps_prediction) * prediction;
  Tensor moved = factor(CellTable::to_x0) * x0 + factor(CellTable::to_eps) * eps;
  if (outputs.noise.defined()) moved = moved + factor(CellTable::to_noise) * outputs.noise;
  x.index_copy_(1, as_index(table, CellTable::x_out), moved);
  z.index_copy_(1, as_index(table, CellTable::z_out), cells(outputs.z));
}

}  // namespace plain

}  // namespace df::ops
