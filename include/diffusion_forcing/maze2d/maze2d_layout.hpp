// SPDX-License-Identifier: MIT
// The walls of D4RL's point mazes (Fu et al. 2020), and their MuJoCo model.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace df {

using Point2 = std::array<double, 2>;  // x, y
// Metres between two points.
double distance(const Point2& a, const Point2& b);

// GridCell (w, h) is character h of row w: w counts along x, h along y. In the coordinates of observations its block spans
// [w - 0.7, w + 0.3] x [h - 0.7, h + 0.3], so (w, h) is not its centre: the ball's model stands 0.2 off the grid.
struct GridCell {
  int64_t w = 0, h = 0;
  auto operator<=>(const GridCell&) const = default;
};
// The whole numbers of a cell as a point.
inline Point2 to_point(GridCell cell) { return {static_cast<double>(cell.w), static_cast<double>(cell.h)}; }
// Halves go to the even side.
GridCell nearest_cell(const Point2& point);

// A maze by its characters: walls, free cells, goals.
struct Maze2dLayout {
  std::string name;
  std::vector<std::string> rows;  // of equal length: '#' wall, 'O' free, 'G' the goal, which is free too
  GridCell goal;
  std::vector<GridCell> free_cells;  // where episodes start and random goals lie: 'O' in order of (w, h), then the goal

  int64_t width() const { return static_cast<int64_t>(rows.size()); }  // cells along x
  int64_t height() const { return static_cast<int64_t>(rows.front().size()); }
  bool wall(GridCell cell) const;  // true outside
};

// Throws df::Error naming the row: no rows, rows of unequal length, other characters, not one goal, no free cell beside it, a gap in the
// border, a free cell that cannot be reached from the goal.
Maze2dLayout parse_maze2d_layout(std::string name, std::vector<std::string> rows);

// umaze, medium, large, their eval- forms, open. Throws df::Error listing them.
const Maze2dLayout& maze2d_layout(std::string_view name);
// All layouts that D4RL has.
const std::vector<Maze2dLayout>& maze2d_layouts();

// The model as MJCF. Contact margins are on the ball alone, which means the same to every MuJoCo version; D4RL's own file has them on
// every geom, and 3.5 adds up what earlier versions take the larger of.
std::string maze2d_mjcf(const Maze2dLayout& layout);

}  // namespace df
