// SPDX-License-Identifier: MIT
// Mazes as pictures: walls where the ball meets them, trajectories coloured by time, plans.
#pragma once

#include <cstdint>
#include <functional>
#include <filesystem>
#include <vector>

#include "diffusion_forcing/core/tensor.hpp"
#include "diffusion_forcing/environments/maze2d_layout.hpp"
#include "diffusion_forcing/planning/episodes.hpp"

namespace df {

struct MazeDrawing {
  Tensor positions;        // [F, 2] what was driven, or undefined; from blue to red over time
  Tensor plan;             // [F, 2] what was planned, or undefined; thin and grey
  Point2 start{}, goal{};  // green dot, red ring of the goal's radius
};

// uint8 [3, H, W], x to the right and y up, `pixels` a cell.
Tensor draw_maze(const Maze2dLayout& layout, const MazeDrawing& drawing, int64_t pixels = 48);

// The first episodes of a report side by side, plan of the start and what was driven: a sheet.
Tensor draw_episodes(const Maze2dLayout& layout, const EpisodeReport& report, int64_t columns = 4, int64_t pixels = 40);

// The closed loop of one world: a frame every `every` steps, with the plan that is being followed.
void write_closed_loop_video(const std::filesystem::path& path, const Maze2dLayout& layout, const EpisodeReport& report, int64_t episode,
                             int64_t every = 4, double fps = 25.0);

// A plan while it is denoised: rows [M, F, 2] of clean or noisy positions, a frame a row.
void write_denoising_video(const std::filesystem::path& path, const Maze2dLayout& layout, const Tensor& rows, const Point2& start,
                           const Point2& goal, double fps = 25.0);

}  // namespace df
