// SPDX-License-Identifier: MIT
#include "diffusion_forcing/maze2d/grid_planner.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "diffusion_forcing/core/error.hpp"

namespace df {

namespace {

constexpr GridCell moves[] = {{0, 0}, {0, -1}, {0, 1}, {-1, 0}, {1, 0}};
constexpr size_t move_count = std::size(moves);
constexpr int sweeps = 50, most_moves = 100;
constexpr double discount = 0.99;

size_t index_of(const Maze2dLayout& layout, GridCell cell) { return static_cast<size_t>(cell.w + layout.width() * cell.h); }

GridCell moved(const Maze2dLayout& layout, GridCell cell, size_t action) {
  const GridCell to{cell.w + moves[action].w, cell.h + moves[action].h};
  return layout.wall(to) ? cell : to;
}

double best_value(const std::vector<double>& values, size_t state) {
  const double* q = &values[state * move_count];
  return *std::max_element(q, q + move_count);
}

}  // namespace

std::vector<double> maze2d_values(const Maze2dLayout& layout, GridCell target) {
  if (layout.wall(target))
    throw Error(fmt::format("target ({}, {}): expected a free cell of layout {}, got a wall", target.w, target.h, layout.name));
  const auto cells = static_cast<size_t>(layout.width() * layout.height());
  std::vector<double> q(cells * move_count, 0.0), best(cells, 0.0);
  for (int sweep = 0; sweep < sweeps; ++sweep) {
    for (size_t s = 0; s < cells; ++s) best[s] = best_value(q, s);
    for (int64_t h = 0; h < layout.height(); ++h)
      for (int64_t w = 0; w < layout.width(); ++w)
        for (size_t a = 0; a < move_count; ++a)
          q[index_of(layout, {w, h}) * move_count + a] =
              (GridCell{w, h} == target ? 1.0 : 0.0) + discount * best[index_of(layout, moved(layout, {w, h}, a))];
  }
  return q;
}

bool leads_to_target(const Maze2dLayout& layout, const std::vector<double>& values, GridCell start) {
  const bool inside = start.w >= 0 && start.h >= 0 && start.w < layout.width() && start.h < layout.height();
  return inside && best_value(values, index_of(layout, start)) > 0.0;
}

std::vector<GridCell> greedy_path(const Maze2dLayout& layout, const std::vector<double>& values, GridCell start, GridCell target) {
  if (!leads_to_target(layout, values, start))
    throw Error(fmt::format("start ({}, {}): expected a cell of layout {} with a way to ({}, {}), got none", start.w, start.h, layout.name,
                            target.w, target.h));
  std::vector<GridCell> path;
  GridCell cell = start;
  do {
    const double* q = &values[index_of(layout, cell) * move_count];
    cell = moved(layout, cell, static_cast<size_t>(std::max_element(q, q + move_count) - q));
    path.push_back(cell);
  } while (cell != target && path.size() < most_moves);
  return path;
}

std::vector<GridCell> greedy_path(const Maze2dLayout& layout, GridCell start, GridCell target) {
  return greedy_path(layout, maze2d_values(layout, target), start, target);
}

}  // namespace df
