// SPDX-License-Identifier: MIT
// Shortest ways through a layout by value iteration, with D4RL's order of ties.
#pragma once

#include <vector>

#include "diffusion_forcing/maze2d/maze2d_layout.hpp"

namespace df {

// Q [cells * 5] after 50 sweeps at a discount of 0.99, where being at the target is worth 1. GridCell (w, h) has index w + width * h;
// actions are: stay, -h, +h, -w, +w, and a move into a wall stays. Walls have values too: those beside a free cell lead out. Throws
// df::Error where the target is a wall.
std::vector<double> maze2d_values(const Maze2dLayout& layout, GridCell target);

// The cells that the greedy policy visits after `start`, the target last; the target alone where it starts there. The first of equally good
// actions is taken, and 100 moves at most. Throws df::Error where no way leads from the start to the target.
std::vector<GridCell> greedy_path(const Maze2dLayout& layout, GridCell start, GridCell target);
// The same, with the values of the cells given.
std::vector<GridCell> greedy_path(const Maze2dLayout& layout, const std::vector<double>& values, GridCell start, GridCell target);
// Whether walking to ever better neighbours arrives at the target.
bool leads_to_target(const Maze2dLayout& layout, const std::vector<double>& values, GridCell start);

}  // namespace df
