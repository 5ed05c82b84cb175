// SPDX-License-Identifier: MIT
#include "diffusion_forcing/maze2d/travel_map.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <queue>
#include <utility>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/shape.hpp"

namespace df {

namespace {

constexpr double margin = 1.0;         // metres around the data
constexpr double wall_cost = 4.0;      // a metre through a wall
constexpr double most_cells = 4096.0;  // along a side
constexpr double unreached = std::numeric_limits<double>::infinity();

struct Grid {
  int64_t width, height;
  // f(neighbour, whether diagonal, the two cells beside a diagonal) for each neighbour of a cell.
  template <class F>
  void neighbours(int64_t index, F&& f) const {
    const int64_t x = index % width, y = index / width;
    for (int64_t dy = -1; dy <= 1; ++dy)
      for (int64_t dx = -1; dx <= 1; ++dx) {
        if ((dx == 0 && dy == 0) || x + dx < 0 || x + dx >= width || y + dy < 0 || y + dy >= height) continue;
        f(index + dy * width + dx, dx != 0 && dy != 0, index + dx, index + dy * width);
      }
  }
};

// Cells by distance, the nearest first.
using Entry = std::pair<double, int64_t>;
using Queue = std::priority_queue<Entry, std::vector<Entry>, std::greater<>>;

// Dijkstra from the cells of `queue`, whose distances are set: next(cell, f) calls f(neighbour, step in metres), and
// reached(cell, from) is told of each improvement.
template <class Next, class Reached>
void spread(Queue& queue, std::vector<double>& distance, const Next& next, const Reached& reached) {
  while (!queue.empty()) {
    const auto [here, from] = queue.top();
    queue.pop();
    if (here > distance[static_cast<size_t>(from)]) continue;
    next(from, [&, here = here, from = from](int64_t to, double step) {
      double& best = distance[static_cast<size_t>(to)];
      if (here + step >= best) return;
      best = here + step;
      queue.emplace(best, to);
      reached(to, from);
    });
  }
}

// The neighbours of a passable cell that may be stepped to: passable, and not around a corner.
template <class F>
void steps(const Grid& grid, const std::vector<uint8_t>& passable, int64_t index, F&& f) {
  const auto open = [&](int64_t cell) { return passable[static_cast<size_t>(cell)] != 0; };
  grid.neighbours(index, [&](int64_t to, bool diagonal, int64_t beside, int64_t below) {
    if (open(to) && (!diagonal || (open(beside) && open(below)))) f(to, diagonal);
  });
}

std::vector<uint8_t> largest_connected(const Grid& grid, const std::vector<uint8_t>& passable) {
  std::vector<int64_t> part(passable.size(), -1), sizes;
  for (size_t seed = 0; seed < passable.size(); ++seed) {
    if (!passable[seed] || part[seed] >= 0) continue;
    const auto id = static_cast<int64_t>(sizes.size());
    std::vector<int64_t> open{static_cast<int64_t>(seed)};
    part[seed] = id;
    sizes.push_back(0);
    while (!open.empty()) {
      const int64_t from = open.back();
      open.pop_back();
      ++sizes.back();
      steps(grid, passable, from, [&](int64_t to, bool) {
        if (part[static_cast<size_t>(to)] >= 0) return;
        part[static_cast<size_t>(to)] = id;
        open.push_back(to);
      });
    }
  }
  const auto largest = std::max_element(sizes.begin(), sizes.end()) - sizes.begin();
  std::vector<uint8_t> world(passable.size());
  std::transform(part.begin(), part.end(), world.begin(), [&](int64_t id) { return id == largest; });
  return world;
}

void check_finite(const Tensor& values, const char* name) {
  if (!at::isfinite(values).all().item<bool>())
    throw Error(fmt::format("travel map: {}: expected finite numbers, got NaN or infinity", name));
}

}  // namespace

TravelMap::TravelMap(const Tensor& observations, double cell, int64_t min_rows) : cell_(cell) {
  check_shape(observations, "travel map: observations", {-1, -1});
  if (observations.size(0) == 0 || observations.size(1) < 2)
    throw Error(fmt::format("travel map: observations: expected at least one row of at least 2 numbers, got {}",
                            to_string(observations.sizes().vec())));
  if (!std::isfinite(cell) || cell <= 0) throw Error(fmt::format("travel map: cell: expected metres above 0, got {}", cell));
  if (min_rows < 1) throw Error(fmt::format("travel map: min_rows: expected at least 1, got {}", min_rows));
  const Tensor xy = observations.narrow(1, 0, 2).to(at::kCPU, at::kDouble).contiguous();
  check_finite(xy, "observations");
  find_passable(xy, min_rows);
  find_nearest();
}

void TravelMap::find_passable(const Tensor& xy, int64_t min_rows) {
  const Tensor least = std::get<0>(xy.min(0)), most = std::get<0>(xy.max(0));
  const double border = std::ceil(margin / cell_);
  // Data and margin fall into whole cells; the first row or column of data begins where the least of them lies.
  const auto cells = [&](int64_t axis) {
    const double across = std::floor((most[axis] - least[axis]).item<double>() / cell_) + 1 + 2 * border;
    if (across > most_cells)
      throw Error(fmt::format("travel map: expected at most {} cells along a side, got {} (observations span {} m)", most_cells, across,
                              (most[axis] - least[axis]).item<double>()));
    return static_cast<int64_t>(across);
  };
  width_ = cells(0), height_ = cells(1);
  const double left = least[0].item<double>(), bottom = least[1].item<double>();
  x_ = left + (0.5 - border) * cell_, y_ = bottom + (0.5 - border) * cell_;
  std::vector<int64_t> rows(static_cast<size_t>(width_ * height_));
  const double* p = xy.const_data_ptr<double>();
  for (int64_t i = 0; i < xy.size(0); ++i) {
    const double column = std::floor((p[2 * i] - left) / cell_) + border, row = std::floor((p[2 * i + 1] - bottom) / cell_) + border;
    ++rows[static_cast<size_t>(static_cast<int64_t>(row) * width_ + static_cast<int64_t>(column))];
  }
  passable_.resize(rows.size());
  std::transform(rows.begin(), rows.end(), passable_.begin(), [&](int64_t n) { return n >= min_rows; });
  if (std::find(passable_.begin(), passable_.end(), 1) == passable_.end())
    throw Error(
        fmt::format("travel map: expected a cell of {} m with at least {} rows, got {} rows and none", cell_, min_rows, xy.size(0)));
  passable_ = largest_connected({width_, height_}, passable_);
}

void TravelMap::find_nearest() {
  off_.assign(passable_.size(), unreached);
  nearest_.resize(passable_.size());
  Queue queue;
  for (size_t i = 0; i < passable_.size(); ++i) {
    nearest_[i] = static_cast<int64_t>(i);
    if (!passable_[i]) continue;
    off_[i] = 0;
    queue.emplace(0.0, i);
  }
  const Grid grid{width_, height_};
  const double diagonal_step = cell_ * std::sqrt(2.0);
  spread(
      queue, off_,
      [&](int64_t from, const auto& f) {
        grid.neighbours(from, [&](int64_t to, bool diagonal, int64_t, int64_t) { f(to, diagonal ? diagonal_step : cell_); });
      },
      [&](int64_t to, int64_t from) { nearest_[static_cast<size_t>(to)] = nearest_[static_cast<size_t>(from)]; });
}

void TravelMap::travel(double x, double y, float* values) const {
  const auto straight = [&](int64_t index) { return std::hypot(center_x(index) - x, center_y(index) - y); };
  int64_t seed = -1;
  for (size_t i = 0; i < passable_.size(); ++i)
    if (passable_[i] && (seed < 0 || straight(static_cast<int64_t>(i)) < straight(seed))) seed = static_cast<int64_t>(i);
  std::vector<double> distance(passable_.size(), unreached);
  Queue queue;
  const auto start = [&](int64_t index) {
    distance[static_cast<size_t>(index)] = straight(index);
    queue.emplace(straight(index), index);
  };
  const Grid grid{width_, height_};
  start(seed);
  steps(grid, passable_, seed, [&](int64_t to, bool) { start(to); });
  const double diagonal_step = cell_ * std::sqrt(2.0);
  spread(
      queue, distance,
      [&](int64_t from, const auto& f) {
        steps(grid, passable_, from, [&](int64_t to, bool diagonal) { f(to, diagonal ? diagonal_step : cell_); });
      },
      [](int64_t, int64_t) {});
  for (size_t i = 0; i < distance.size(); ++i)
    values[i] = static_cast<float>(distance[static_cast<size_t>(nearest_[i])] + wall_cost * off_[i]);
}

Tensor TravelMap::distances(const Tensor& goals) const {
  check_shape(goals, "travel map: goals", {-1, 2});
  const Tensor g = goals.to(at::kCPU, at::kDouble).contiguous();
  check_finite(g, "goals");
  Tensor maps = at::empty({g.size(0), height_, width_});
  const double* p = g.const_data_ptr<double>();
  float* values = maps.mutable_data_ptr<float>();
  at::parallel_for(0, g.size(0), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) travel(p[2 * i], p[2 * i + 1], values + i * height_ * width_);
  });
  return maps;
}

Tensor TravelMap::look_up(const Tensor& maps, const Tensor& positions) const {
  check_shape(maps, "travel map: distances", {-1, height_, width_});
  check_shape(positions, "travel map: positions", {-1, -1, 2});
  const int64_t G = maps.size(0), B = positions.size(0), F = positions.size(1);
  if (G == 0 || B % G != 0) throw Error(fmt::format("travel map: positions: expected a multiple of {} goals, got {} rows", G, B));
  const double right = x_ + cell_ * static_cast<double>(width_ - 1), top = y_ + cell_ * static_cast<double>(height_ - 1);
  const Tensor x = positions.select(2, 0), y = positions.select(2, 1);
  const Tensor inside_x = x.clamp(x_, right), inside_y = y.clamp(y_, top);
  const Tensor grid = at::stack({(inside_x - x_) * (2 / (right - x_)) - 1, (inside_y - y_) * (2 / (top - y_)) - 1}, 2);
  const int64_t bilinear = 0, border = 1;
  const Tensor values =
      at::grid_sampler_2d(maps.unsqueeze(1).to(positions.scalar_type()), grid.reshape({G, B / G * F, 1, 2}), bilinear, border,
                          /*align_corners=*/true);
  const Tensor outside = ((x - inside_x).square() + (y - inside_y).square() + 1e-12).sqrt();
  return values.reshape({B, F}) + outside;
}

}  // namespace df
