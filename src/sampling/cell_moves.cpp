// SPDX-License-Identifier: MIT
#include "sampling/cell_moves.hpp"

#include <ATen/ATen.h>

#include <cmath>
#include <cstring>
#include <limits>

namespace df {

namespace {

// At one level, in float64.
struct Level {
  double signal, noise;  // sqrt(alpha_bar), sqrt(1 - alpha_bar)
  Level(const NoiseSchedule& schedule, int64_t k)
      : signal(schedule.sqrt_alpha_bar.const_data_ptr<float>()[k]), noise(schedule.sqrt_one_minus_alpha_bar.const_data_ptr<float>()[k]) {}
};

// x0 = of_x x + of_prediction prediction, and so for eps.
struct Decoding {
  double x0_x, x0_prediction, eps_x, eps_prediction;
};

// decode() of diffusion.hpp; with a bound on x0 the noise is that of the bounded x0.
Decoding decoding(Space output, const Level& at, bool bounded) {
  const double noisy = at.noise > 0 ? 1.0 : 0.0, inverse = at.noise > 0 ? 1.0 / at.noise : 0.0;
  Decoding d{};
  switch (output) {
    case Space::eps:
      d = {1.0 / at.signal, -at.noise * noisy / at.signal, 0.0, noisy};
      break;
    case Space::x0:
      d = {0.0, 1.0, inverse, -at.signal * inverse};
      break;
    case Space::v:
      d = {at.signal, -at.noise, at.noise, at.signal * noisy};
      break;
  }
  if (bounded) {
    d.eps_x = inverse;
    d.eps_prediction = -at.signal * inverse;
  }
  return d;
}

struct Move {
  double x0, eps, noise;
};

// transition_coefficients() of transition.hpp.
Move move_between(const Level& from, const Level& to, const SamplerConfig& config) {
  const double eta = config.solver == Solver::ddpm ? 1.0 : config.eta;
  const double var_from = from.noise * from.noise, var_to = to.noise * to.noise;
  const double share = var_from > 0 ? var_to / var_from : 0.0, ratio = from.signal / to.signal;
  const double variance = std::max(0.0, eta * eta * (1.0 - ratio * ratio) * share);
  return {to.signal, std::sqrt(std::max(0.0, var_to - variance)), std::sqrt(variance)};
}

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

CellBounds cell_bounds(const Diffusion& diffusion, const SamplerConfig& config) {
  constexpr double none = std::numeric_limits<double>::infinity();
  return {diffusion.config.output == Space::eps ? diffusion.config.clip_noise : none, config.clip_x0 > 0 ? config.clip_x0 : none};
}

Tensor cell_table(const PlanStep& step, int64_t width, int64_t slots, const Diffusion& diffusion, const SamplerConfig& config) {
  Tensor table = at::empty({CellTable::rows, width}, at::kInt);
  int32_t* const values = table.mutable_data_ptr<int32_t>();
  const auto set = [&](int64_t i, CellTable::Row row, int64_t value) { values[row * width + i] = static_cast<int32_t>(value); };
  const auto set_factor = [&](int64_t i, CellTable::Row row, double value) {
    const auto number = static_cast<float>(value);
    std::memcpy(values + row * width + i, &number, sizeof number);
  };
  for (int64_t i = 0; i < width; ++i) {
    const bool spare = i >= static_cast<int64_t>(step.size());
    const Cell cell = spare ? Cell{0, 0, 1, 1, 1, CellKind::update} : step[static_cast<size_t>(i)];
    const int64_t to = moves(cell.kind) ? cell.to : cell.from;
    set(i, CellTable::token, spare ? slots : cell.token % slots);
    set(i, CellTable::z_in, spare ? slots + 1 : cell.token % (slots + 1));
    set(i, CellTable::z_out, spare ? slots + 1 : (cell.token + 1) % (slots + 1));
    set(i, CellTable::x_out, spare || cell.kind == CellKind::encode ? slots : cell.token % slots);
    set(i, CellTable::level, cell.shown);
    const Level shown(diffusion.schedule, cell.shown);
    const Decoding d = decoding(diffusion.config.output, shown, config.clip_x0 > 0);
    const Move m = move_between(Level(diffusion.schedule, cell.from), Level(diffusion.schedule, to), config);
    set_factor(i, CellTable::show, cell.shown > cell.from ? shown.signal : 1.0);
    set_factor(i, CellTable::x0_x, d.x0_x);
    set_factor(i, CellTable::x0_prediction, d.x0_prediction);
    set_factor(i, CellTable::eps_x, d.eps_x);
    set_factor(i, CellTable::eps_prediction, d.eps_prediction);
    set_factor(i, CellTable::to_x0, m.x0);
    set_factor(i, CellTable::to_eps, m.eps);
    set_factor(i, CellTable::to_noise, m.noise);
  }
  return table;
}

namespace plain {

CellInputs gather_cells(const Tensor& table, const StepBuffers& buffers) {
  const Tensor x = buffers.x.index_select(1, as_index(table, CellTable::token)),
               z = buffers.z.index_select(1, as_index(table, CellTable::z_in));
  const Tensor level = as_index(table, CellTable::level).expand({x.size(0), -1});
  return {(x * factors(table, CellTable::show, x)).flatten(0, 1), z.flatten(0, 1), level.flatten()};
}

void move_cells(const Tensor& table, const CellOutputs& outputs, const CellBounds& bounds, const StepBuffers& buffers) {
  const auto cells = [&](const Tensor& rows) { return rows.to(at::kFloat).unflatten(0, {buffers.x.size(0), table.size(1)}); };
  const Tensor x = cells(outputs.shown);
  const auto factor = [&](CellTable::Row row) { return factors(table, row, x); };
  Tensor prediction = bounded(cells(outputs.prediction), bounds.prediction);
  const Tensor x0 = bounded(factor(CellTable::x0_x) * x + factor(CellTable::x0_prediction) * prediction, bounds.x0);
  if (!std::isinf(bounds.x0)) prediction = x0;
  const Tensor eps = factor(CellTable::eps_x) * x + factor(CellTable::eps_prediction) * prediction;
  Tensor moved = factor(CellTable::to_x0) * x0 + factor(CellTable::to_eps) * eps;
  if (outputs.noise.defined()) moved = moved + factor(CellTable::to_noise) * outputs.noise;
  buffers.x.index_copy_(1, as_index(table, CellTable::x_out), moved);
  buffers.z.index_copy_(1, as_index(table, CellTable::z_out), cells(outputs.z));
}

}  // namespace plain

CellInputs gather_cells(const Tensor& table, const StepBuffers& buffers) {
  const auto* kernels = fused_kernels(table.device());
  return kernels ? kernels->gather_cells(table, buffers.x, buffers.z) : plain::gather_cells(table, buffers);
}

void move_cells(const Tensor& table, const CellOutputs& outputs, const CellBounds& bounds, const StepBuffers& buffers) {
  if (const auto* kernels = fused_kernels(table.device()))
    kernels->move_cells(table, outputs, bounds, buffers.x, buffers.z);
  else
    plain::move_cells(table, outputs, bounds, buffers);
}

}  // namespace df
