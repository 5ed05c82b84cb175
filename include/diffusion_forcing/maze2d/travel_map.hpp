// SPDX-License-Identifier: MIT
// How far it is to a goal along ways that offline data took: distances that know of walls without being told where they are.
#pragma once

#include <cstdint>
#include <vector>

#include "diffusion_forcing/core/tensor.hpp"

namespace df {

// A grid over the data's positions and a margin of a metre. Cells that enough rows lie in are passable; of those, the largest connected
// set is the world, and anything else is wall.
class TravelMap {
 public:
  // Observations [N, >= 2] (x, y in metres, ...), cells of `cell` metres, passable from `min_rows` rows on.
  // Throws df::Error for no rows, numbers that are not finite, other shapes, or where no cell is passable.
  explicit TravelMap(const Tensor& observations, double cell = 0.1, int64_t min_rows = 2);

  int64_t width() const { return width_; }    // cells along x
  int64_t height() const { return height_; }  // cells along y

  // Goals [G, 2] -> float32 [G, height, width] on the CPU: metres from each cell's centre, all finite. In passable cells along passable
  // ones (Dijkstra over eight neighbours, no diagonals around corners; up to 8 % longer than straight lines). In walls that of the nearest
  // passable cell and 4 for each metre to it, however near the goal may be beyond: walls lead out of themselves, to the nearest side.
  // Throws df::Error for other shapes and goals that are not finite.
  Tensor distances(const Tensor& goals) const;

  // Distances [G, height, width] at positions [G n, F, 2] -> [G n, F], between centres bilinear; rows n g ... n g + n - 1 are of goal g.
  // Outside of the map, those at the nearest position inside and the metres to it. Differentiable in the positions, on their device, and
  // safe to record: no synchronisation. Throws df::Error for other shapes.
  Tensor look_up(const Tensor& maps, const Tensor& positions) const;

 private:
  void find_passable(const Tensor& xy, int64_t min_rows);
  void find_nearest();
  void travel(double x, double y, float* values) const;
  double center_x(int64_t index) const { return x_ + cell_ * static_cast<double>(index % width_); }
  double center_y(int64_t index) const { return y_ + cell_ * static_cast<double>(index / width_); }

  double cell_;
  double x_ = 0, y_ = 0;  // centre of the first cell
  int64_t width_ = 0, height_ = 0;
  std::vector<uint8_t> passable_;  // by cell, a row of `width` cells after the other
  std::vector<int64_t> nearest_;   // passable cell of each, itself where it is passable
  std::vector<double> off_;        // metres to it
};

}  // namespace df
