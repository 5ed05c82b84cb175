// SPDX-License-Identifier: MIT
#include "maze_world/maze_layout.hpp"

#include <algorithm>
#include <cmath>

namespace df {

namespace {

constexpr Block kNeighbours[] = {{1, 0}, {0, 1}, {-1, 0}, {0, -1}};

}  // namespace

MazeLayout::MazeLayout(const MazeWorldConfig& config, MazeRandom random)
    : side_(2 * config.cells + 1), walls_(side_ * side_, 1), districts_(side_ * side_, 0) {
  carve_passages(config.cells, random);
  open_up(config.cells, random);
  divide(config, random);
  for (int64_t row = 0; row < side_; ++row)
    for (int64_t column = 0; column < side_; ++column)
      if (!wall(column, row)) open_.push_back({column, row});
}

// A perfect maze, depth first: rooms are the blocks with odd coordinates.
void MazeLayout::carve_passages(int64_t cells, MazeRandom& random) {
  std::vector<Block> trail = {{2 * random.below(cells) + 1, 2 * random.below(cells) + 1}};
  at(trail.back().column, trail.back().row) = 0;
  while (!trail.empty()) {
    const Block here = trail.back();
    Block choices[4];
    int64_t count = 0;
    for (const Block& d : kNeighbours) {
      const Block room{here.column + 2 * d.column, here.row + 2 * d.row};
      const bool inside = room.column > 0 && room.row > 0 && room.column < side_ && room.row < side_;
      if (inside && wall(room.column, room.row)) choices[count++] = d;
    }
    if (count == 0) {
      trail.pop_back();
      continue;
    }
    const Block d = choices[random.below(count)];
    at(here.column + d.column, here.row + d.row) = 0;
    trail.push_back({here.column + 2 * d.column, here.row + 2 * d.row});
    at(trail.back().column, trail.back().row) = 0;
  }
}

// Loops, so that places are met again from other sides; a few halls of 2 x 2 rooms; no lonely pillars in the halls.
void MazeLayout::open_up(int64_t cells, MazeRandom& random) {
  for (int64_t row = 1; row < side_ - 1; ++row)
    for (int64_t column = 1; column < side_ - 1; ++column)
      if ((row + column) % 2 == 1 && random.chance(20)) at(column, row) = 0;
  for (int64_t hall = 0; hall < cells / 3; ++hall) {
    const int64_t left = 2 * random.below(cells - 1) + 1, top = 2 * random.below(cells - 1) + 1;
    for (int64_t row = top; row < top + 3; ++row)
      for (int64_t column = left; column < left + 3; ++column) at(column, row) = 0;
  }
  for (int64_t row = 2; row < side_ - 1; row += 2)
    for (int64_t column = 2; column < side_ - 1; column += 2) {
      const auto is_open = [&](const Block& d) { return !wall(column + d.column, row + d.row); };
      if (std::all_of(std::begin(kNeighbours), std::end(kNeighbours), is_open)) at(column, row) = 0;
    }
}

// Districts are the blocks nearest to one of a few rooms, each room the farthest from the earlier ones of eight drawn.
void MazeLayout::divide(const MazeWorldConfig& config, MazeRandom& random) {
  std::vector<Block> centres;
  const auto nearest = [&](Block block) {  // squared distance and index of the nearest centre
    std::pair<int64_t, int64_t> best{INT64_MAX, 0};
    for (size_t i = 0; i < centres.size(); ++i) {
      const int64_t dx = block.column - centres[i].column, dy = block.row - centres[i].row;
      best = std::min(best, {dx * dx + dy * dy, static_cast<int64_t>(i)});
    }
    return best;
  };
  while (static_cast<int64_t>(centres.size()) < config.districts) {
    Block best;
    int64_t distance = 0;
    for (int64_t i = 0; i < 8; ++i) {
      const Block room{2 * random.below(config.cells) + 1, 2 * random.below(config.cells) + 1};
      if (nearest(room).first > distance) distance = nearest(room).first, best = room;
    }
    if (distance > 0) centres.push_back(best);
  }
  for (int64_t row = 0; row < side_; ++row)
    for (int64_t column = 0; column < side_; ++column)
      districts_[row * side_ + column] = static_cast<uint8_t>(nearest({column, row}).second);
}

int64_t MazeLayout::district(int64_t column, int64_t row) const {
  column = std::clamp<int64_t>(column, 0, side_ - 1);
  row = std::clamp<int64_t>(row, 0, side_ - 1);
  return districts_[row * side_ + column];
}

bool MazeLayout::fits(float x, float y, float radius) const {
  const auto block = [](float v) { return static_cast<int64_t>(std::floor(v)); };
  return !wall(block(x - radius), block(y - radius)) && !wall(block(x + radius), block(y - radius)) &&
         !wall(block(x - radius), block(y + radius)) && !wall(block(x + radius), block(y + radius));
}

std::vector<int32_t> MazeLayout::steps_to(Block goal) const {
  std::vector<int32_t> steps(side_ * side_, -1);
  std::vector<Block> queue = {goal};
  steps[goal.row * side_ + goal.column] = 0;
  for (size_t i = 0; i < queue.size(); ++i) {
    const Block here = queue[i];
    for (const Block& d : kNeighbours) {
      const Block next{here.column + d.column, here.row + d.row};
      if (wall(next.column, next.row) || steps[next.row * side_ + next.column] >= 0) continue;
      steps[next.row * side_ + next.column] = steps[here.row * side_ + here.column] + 1;
      queue.push_back(next);
    }
  }
  return steps;
}

}  // namespace df
