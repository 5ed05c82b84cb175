// SPDX-License-Identifier: MIT
// The ground plan of a world: which blocks are walls and which district each belongs to.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "diffusion_forcing/maze_world/maze_world.hpp"
#include "maze_world/maze_random.hpp"

namespace df {

struct Block {
  int64_t column = 0, row = 0;
  bool operator==(const Block&) const = default;
};

class MazeLayout {
 public:
  MazeLayout(const MazeWorldConfig& config, MazeRandom random);
  int64_t side() const { return side_; }
  bool wall(int64_t column, int64_t row) const {  // everything outside is wall
    return static_cast<uint64_t>(column) >= static_cast<uint64_t>(side_) || static_cast<uint64_t>(row) >= static_cast<uint64_t>(side_) ||
           walls_[row * side_ + column];
  }
  int64_t district(int64_t column, int64_t row) const;  // the nearest block's, outside
  bool fits(float x, float y, float radius) const;      // a square of that half side touches no wall
  const std::vector<Block>& open() const { return open_; }
  // Steps from each open block to `goal` over the four neighbours, -1 on walls.
  std::vector<int32_t> steps_to(Block goal) const;

 private:
  void carve_passages(int64_t cells, MazeRandom& random);
  void open_up(int64_t cells, MazeRandom& random);
  void divide(const MazeWorldConfig& config, MazeRandom& random);
  uint8_t& at(int64_t column, int64_t row) { return walls_[row * side_ + column]; }

  int64_t side_;
  std::vector<uint8_t> walls_, districts_;  // [side * side], row major
  std::vector<Block> open_;
};

}  // namespace df
