// SPDX-License-Identifier: MIT
// A procedural first-person world, ray-cast: mazes in districts of textured walls and coloured floors, and an agent that walks to
// goals with three actions. Everything follows from the seed.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

namespace df {

// Where the agent stands and where it looks.
struct Pose {
  float x, y;     // blocks; the maze spans [0, blocks()] and block (column, row) spans [column, column + 1] x [row, row + 1]
  float heading;  // radians, counter-clockwise, 0 looks along +x
};

enum class MazeAction : uint8_t { forward = 0, left = 1, right = 2 };

// What a maze world looks like.
struct MazeWorldConfig {
  int64_t cells = 7;      // rooms along each side; 2 cells + 1 blocks
  int64_t districts = 3;  // 1..5, each with its own wall and floor; the same ones in every maze
  bool textured = true;   // false: walls and floors of one colour each
  template <class V>
  void visit(V&& v) {
    v("cells", cells, "rooms along each side of the maze");
    v("districts", districts, "districts, each with its own wall and floor");
    v("textured", textured, "textures on the walls, else flat colours");
  }
};

// One maze, in which an agent walks and sees.
class MazeWorld {
 public:
  MazeWorld(const MazeWorldConfig& config, uint64_t seed);
  ~MazeWorld();
  // RGB [3, height, width] float in [0, 1], horizontal field of view 90 degrees, written to `out`.
  void render(const Pose& pose, int64_t height, int64_t width, float* out) const;
  // The agent's walk: `count` poses and the action taken at each. Walks restarted with the same seed are equal, and a longer one
  // starts with the shorter one.
  void walk(uint64_t seed, int64_t count, std::vector<Pose>& poses, std::vector<MazeAction>& actions) const;
  // One action from a pose: a fifth of a block ahead, sliding along walls, or 18 degrees around.
  Pose move(const Pose& pose, MazeAction action) const;
  bool wall(int64_t column, int64_t row) const;         // of the block grid, for drawing maps; true outside
  int64_t district(int64_t column, int64_t row) const;  // 0 .. districts - 1
  int64_t blocks() const;                               // side of the block grid

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace df
