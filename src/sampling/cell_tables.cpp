// SPDX-License-Identifier: MIT
#include "sampling/cell_tables.hpp"

#include <ATen/ATen.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "diffusion_forcing/sampling/transition.hpp"

namespace df {

namespace {

// What decode() makes of a token at each level: it is linear in the token and in the prediction, so that of (1, 0) and (0, 1) says all.
// With a bound on x0 the noise is that of the bounded x0, which then is the prediction.
std::vector<Tensor> decoding(const Diffusion& diffusion, bool bounded) {
  const Tensor levels = at::arange(diffusion.schedule.levels() + 1), one = at::ones({levels.size(0)}), none = at::zeros_like(one);
  const auto of = [&](Space space, const Tensor& x, const Tensor& prediction) {
    return decode(space, diffusion.schedule, x, levels, prediction, std::numeric_limits<double>::infinity());
  };
  const Space output = diffusion.config.output, for_eps = bounded ? Space::x0 : output;
  return {of(output, one, none).x0, of(output, none, one).x0, of(for_eps, one, none).eps, of(for_eps, none, one).eps};
}

}  // namespace

CellTables::CellTables(const Diffusion& diffusion, const SamplerConfig& config)
    : diffusion_(diffusion.to(at::kCPU)), solver_(config.solver), eta_(config.eta), decoding_(decoding(diffusion_, config.clip_x0 > 0)) {
  constexpr double none = std::numeric_limits<double>::infinity();
  bounds_ = {diffusion.config.output == Space::eps ? diffusion.config.clip_noise : none, config.clip_x0 > 0 ? config.clip_x0 : none};
}

const CellTables::Move& CellTables::move(int64_t from, int64_t to) {
  const auto [found, fresh] = moves_.try_emplace({from, to});
  if (fresh) {
    const auto level = [](int64_t k) { return at::full({1}, k, at::kLong); };
    const auto c = transition_coefficients(solver_, diffusion_.schedule, level(from), level(to), eta_, at::zeros({1}));
    found->second = {c.x0.item<float>(), c.eps.item<float>(), c.sigma.item<float>()};
  }
  return found->second;
}

Tensor CellTables::of(const PlanStep& step, int64_t width, int64_t slots) {
  Tensor table = at::empty({CellTable::rows, width}, at::kInt);
  int32_t* const values = table.mutable_data_ptr<int32_t>();
  const auto set = [&](int64_t i, CellTable::Row row, int64_t value) { values[row * width + i] = static_cast<int32_t>(value); };
  const auto set_factor = [&](int64_t i, CellTable::Row row, float value) { std::memcpy(values + row * width + i, &value, sizeof value); };
  for (int64_t i = 0; i < width; ++i) {
    const bool spare = i >= static_cast<int64_t>(step.size());
    const Cell cell = spare ? Cell{0, 0, 1, 1, 1, CellKind::update} : step[static_cast<size_t>(i)];
    set(i, CellTable::token, spare ? slots : cell.token % slots);
    set(i, CellTable::z_in, spare ? slots + 1 : cell.token % (slots + 1));
    set(i, CellTable::z_out, spare ? slots + 1 : (cell.token + 1) % (slots + 1));
    set(i, CellTable::x_out, spare || cell.kind == CellKind::encode ? slots : cell.token % slots);
    set(i, CellTable::level, cell.shown);
    const auto at_shown = [&](const Tensor& by_level) { return by_level.const_data_ptr<float>()[cell.shown]; };
    const Move& to = move(cell.from, moves(cell.kind) ? cell.to : cell.from);
    set_factor(i, CellTable::show, cell.shown > cell.from ? at_shown(diffusion_.schedule.sqrt_alpha_bar) : 1.0F);
    set_factor(i, CellTable::x0_x, at_shown(decoding_[0]));
    set_factor(i, CellTable::x0_prediction, at_shown(decoding_[1]));
    set_factor(i, CellTable::eps_x, at_shown(decoding_[2]));
    set_factor(i, CellTable::eps_prediction, at_shown(decoding_[3]));
    set_factor(i, CellTable::to_x0, to.x0);
    set_factor(i, CellTable::to_eps, to.eps);
    set_factor(i, CellTable::to_noise, to.noise);
  }
  return table;
}

}  // namespace df
