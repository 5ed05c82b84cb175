// SPDX-License-Identifier: MIT
// Mazes as pictures: walls where the ball meets them, trajectories coloured by time, plans. Needs libdiffusion_forcing_media.
#pragma once

#include <cstdint>

#include "diffusion_forcing/core/tensor.hpp"
#include "diffusion_forcing/maze2d/maze2d_layout.hpp"

namespace df {

// What is drawn of one maze.
struct MazeDrawing {
  Tensor positions;        // [F, 2] what was driven, or undefined: a line from blue to red over time
  Tensor plan;             // [F, 2] what was planned, or undefined: a thin dark line over it
  Tensor points;           // [F, 2] frames of an unfinished plan, or undefined: dots from blue to red over time
  Point2 start{}, goal{};  // green dot; red cross in a ring of the goal's radius
  int64_t frames = 0;      // of `positions`, seen or to come, until the colour is red; 0: all
  bool ball = false;       // at the last of `positions`
};

// uint8 [3, H, W], x to the right and y up, `pixels` a cell; of the cells of the border the inner 0.4 alone.
Tensor draw_maze(const Maze2dLayout& layout, const MazeDrawing& drawing, int64_t pixels = 48);

// Pixels a cell with which a picture is some `width` wide; 16 to 80.
int64_t maze_pixels(const Maze2dLayout& layout, int64_t width);

}  // namespace df
