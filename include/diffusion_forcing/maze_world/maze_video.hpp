// SPDX-License-Identifier: MIT
// Clips of the embedded world as a data set: no files, any length and resolution.
#pragma once

#include <memory>

#include "diffusion_forcing/data/dataset.hpp"
#include "diffusion_forcing/maze_world/maze_world.hpp"

namespace df {

// The section `data` with `type: maze_video`.
struct MazeVideoConfig {
  static constexpr const char* type = "maze_video";
  int64_t height = 64, width = 64;  // pixels
  int64_t frames = 36;              // of a training clip
  int64_t frame_stack = 4;          // frames a token; divides `frames`
  bool actions = false;             // condition on the agent's actions
  int64_t clips = 40000;            // distinct training clips
  MazeWorldConfig world;
  uint64_t seed = 0;  // of worlds and walks; validation clips are disjoint
  template <class V>
  void visit(V&& v) {
    v("height", height, "pixels");
    v("width", width, "pixels");
    v("frames", frames, "frames of a training clip");
    v("frame_stack", frame_stack, "frames a token");
    v("actions", actions, "condition on the agent's actions");
    v("clips", clips, "distinct training clips");
    world.visit(v);
    v("seed", seed, "of worlds and walks");
  }
};

// c: [T, 3 F] where actions are on. facts: x, y, heading of each frame.
std::shared_ptr<const Dataset> make(const MazeVideoConfig& config, Split split);

}  // namespace df
