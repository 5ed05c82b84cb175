// SPDX-License-Identifier: MIT
#include "diffusion_forcing/maze2d/maze2d_layout.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "diffusion_forcing/core/error.hpp"
#include "maze2d/find_named.hpp"

namespace df {

namespace {

constexpr GridCell steps[] = {{0, -1}, {0, 1}, {-1, 0}, {1, 0}};

// Cells that a walk from the goal meets.
std::set<GridCell> reachable(const Maze2dLayout& layout) {
  std::set<GridCell> found{layout.goal};
  std::vector<GridCell> open{layout.goal};
  while (!open.empty()) {
    const GridCell from = open.back();
    open.pop_back();
    for (const GridCell& step : steps) {
      const GridCell to{from.w + step.w, from.h + step.h};
      if (!layout.wall(to) && found.insert(to).second) open.push_back(to);
    }
  }
  return found;
}

void check_rows(const std::string& name, const std::vector<std::string>& rows) {
  if (rows.empty() || rows.front().empty()) throw Error(fmt::format("layout {}: expected rows of '#', 'O' and one 'G', got none", name));
  for (size_t w = 0; w < rows.size(); ++w) {
    if (rows[w].size() != rows.front().size())
      throw Error(fmt::format("layout {}: row {}: expected {} cells as in row 0, got {}", name, w, rows.front().size(), rows[w].size()));
    const auto other = rows[w].find_first_not_of("#OG");
    if (other != std::string::npos)
      throw Error(fmt::format("layout {}: row {}: expected '#', 'O' or 'G' at {}, got '{}'", name, w, other, rows[w][other]));
  }
}

GridCell find_goal(const std::string& name, const std::vector<std::string>& rows) {
  std::vector<GridCell> goals;
  for (size_t w = 0; w < rows.size(); ++w)
    for (size_t h = 0; h < rows[w].size(); ++h)
      if (rows[w][h] == 'G') goals.push_back({static_cast<int64_t>(w), static_cast<int64_t>(h)});
  if (goals.size() != 1) throw Error(fmt::format("layout {}: expected one goal 'G', got {}", name, goals.size()));
  return goals.front();
}

std::vector<Maze2dLayout> make_layouts() {
  std::vector<Maze2dLayout> all;
  const auto add = [&](const char* name, std::vector<std::string> rows) { all.push_back(parse_maze2d_layout(name, std::move(rows))); };
  add("umaze", {"#####", "#GOO#", "###O#", "#OOO#", "#####"});
  add("medium", {"########", "#OO##OO#", "#OO#OOO#", "##OOO###", "#OO#OOO#", "#O#OO#O#", "#OOO#OG#", "########"});
  add("large", {"############", "#OOOO#OOOOO#", "#O##O#O#O#O#", "#OOOOOO#OOO#", "#O####O###O#", "#OO#O#OOOOO#", "##O#O#O#O###",
                "#OO#OOO#OGO#", "############"});
  add("eval-umaze", {"#####", "#OOG#", "#O###", "#OOO#", "#####"});
  add("eval-medium", {"########", "#OOOOOG#", "#O#O##O#", "#OOOO#O#", "###OO###", "#OOOOOO#", "#OO##OO#", "########"});
  add("eval-large", {"############", "#OO#OOO#OGO#", "##O###O#O#O#", "#OO#O#OOOOO#", "#O##O#OO##O#", "#OOOOOO#OOO#", "#O##O#O#O###",
                     "#OOOO#OOOOO#", "############"});
  add("open", {"#######", "#OOOOO#", "#OOGOO#", "#OOOOO#", "#######"});
  return all;
}

}  // namespace

double distance(const Point2& a, const Point2& b) {
  const double dx = a[0] - b[0], dy = a[1] - b[1];
  return std::sqrt(dx * dx + dy * dy);
}

GridCell nearest_cell(const Point2& point) { return {std::llrint(point[0]), std::llrint(point[1])}; }

bool Maze2dLayout::wall(GridCell cell) const {
  if (cell.w < 0 || cell.h < 0 || cell.w >= width() || cell.h >= height()) return true;
  return rows[static_cast<size_t>(cell.w)][static_cast<size_t>(cell.h)] == '#';
}

Maze2dLayout parse_maze2d_layout(std::string name, std::vector<std::string> rows) {
  check_rows(name, rows);
  Maze2dLayout layout{std::move(name), std::move(rows), {}, {}};
  layout.goal = find_goal(layout.name, layout.rows);
  for (int64_t w = 0; w < layout.width(); ++w)
    for (int64_t h = 0; h < layout.height(); ++h) {
      const GridCell cell{w, h};
      if (layout.wall(cell)) continue;
      if (w == 0 || h == 0 || w + 1 == layout.width() || h + 1 == layout.height())
        throw Error(fmt::format("layout {}: row {}: expected a border of '#', got a gap at {}", layout.name, w, h));
      if (cell != layout.goal) layout.free_cells.push_back(cell);
    }
  if (layout.free_cells.empty()) throw Error(fmt::format("layout {}: expected free cells 'O', got none", layout.name));
  const auto found = reachable(layout);
  for (const GridCell& cell : layout.free_cells)
    if (!found.count(cell))
      throw Error(fmt::format("layout {}: row {}: expected a way from the goal to each free cell, got none to the one at {}", layout.name,
                              cell.w, cell.h));
  layout.free_cells.push_back(layout.goal);
  return layout;
}

const std::vector<Maze2dLayout>& maze2d_layouts() {
  static const std::vector<Maze2dLayout> all = make_layouts();
  return all;
}

const Maze2dLayout& maze2d_layout(std::string_view name) { return find_named(maze2d_layouts(), &Maze2dLayout::name, name, "maze"); }

// The ball's body stands at (1.2, 1.2) and the walls at whole numbers + 1, which is where the offset of 0.2 comes from.
std::string maze2d_mjcf(const Maze2dLayout& layout) {
  std::string walls;
  for (int64_t w = 0; w < layout.width(); ++w)
    for (int64_t h = 0; h < layout.height(); ++h)
      if (layout.wall({w, h}))
        walls +=
            fmt::format("    <geom type=\"box\" pos=\"{} {} 0\" size=\"0.5 0.5 0.2\" contype=\"2\" conaffinity=\"1\"/>\n", w + 1, h + 1);
  return fmt::format(R"(<mujoco model="{}">
  <compiler inertiafromgeom="true" angle="radian"/>
  <option timestep="0.01" gravity="0 0 0" iterations="20" integrator="Euler"/>
  <default>
    <joint damping="1" limited="false"/>
    <geom friction="0.5 0.1 0.1" density="1000" condim="1" contype="2" conaffinity="1"/>
  </default>
  <worldbody>
    <geom name="ground" type="plane" size="40 40 0.25" pos="0 0 -0.1" contype="1" conaffinity="0"/>
    <body name="particle" pos="1.2 1.2 0">
      <geom name="particle" type="sphere" size="0.1" contype="1" margin="0.002"/>
      <joint name="ball_x" type="slide" axis="1 0 0" pos="0 0 0"/>
      <joint name="ball_y" type="slide" axis="0 1 0" pos="0 0 0"/>
    </body>
{}  </worldbody>
  <actuator>
    <motor joint="ball_x" gear="100" ctrllimited="true" ctrlrange="-1 1"/>
    <motor joint="ball_y" gear="100" ctrllimited="true" ctrlrange="-1 1"/>
  </actuator>
</mujoco>
)",
                     layout.name, walls);
}

}  // namespace df
