// SPDX-License-Identifier: MIT
// Draws what an eye sees: one ray per part of a pixel column finds the wall by grid traversal; walls, their edges and the floor are
// averaged over the pixel, so that pictures change smoothly as the eye moves.
#pragma once

#include <cstdint>

#include "maze_world/maze_layout.hpp"

namespace df {

// RGB [3, height, width] in [0, 1].
void render_maze(const MazeLayout& layout, bool textured, const Pose& pose, int64_t height, int64_t width, float* out);

}  // namespace df
