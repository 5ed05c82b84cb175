// SPDX-License-Identifier: MIT
// Mazes as pictures: walls where the ball meets them, trajectories coloured by time, plans. Needs libdiffusion_forcing_media.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "diffusion_forcing/core/tensor.hpp"
#include "diffusion_forcing/maze2d/maze2d_layout.hpp"
#include "diffusion_forcing/planning/episodes.hpp"

namespace df {

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

// The first `episodes` side by side, a row a report (one report alone: four a row): the plan made at the start, what was driven (red from
// the first reach of the goal on), raw score and first reach. pixels 0: chosen so that a maze is some 240 wide. Reports are of the same
// layout.
Tensor draw_episodes(const Maze2dLayout& layout, const std::vector<EpisodeReport>& reports, int64_t episodes = 8, int64_t pixels = 0);

struct MazeVideoOptions {
  int64_t pixels = 0;  // a cell; 0: chosen so that a maze is some 400 wide
  double fps = 25.0;
};

// The closed loop of one episode, reports side by side: a frame every `every` steps, with the plan that is being followed. 4 steps a frame
// at 25 frames a second are real time. By the name's ending, as create_video.
void write_closed_loop_video(const std::filesystem::path& path, const Maze2dLayout& layout, const std::vector<EpisodeReport>& reports,
                             int64_t episode, int64_t every = 4, const MazeVideoOptions& options = {});

// A plan while it is denoised: rows [M, F, 2] of clean or noisy positions, a frame a row.
void write_denoising_video(const std::filesystem::path& path, const Maze2dLayout& layout, const Tensor& rows, const Point2& start,
                           const Point2& goal, const MazeVideoOptions& options = {});

}  // namespace df
