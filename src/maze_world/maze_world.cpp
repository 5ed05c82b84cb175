// SPDX-License-Identifier: MIT
#include "diffusion_forcing/maze_world/maze_world.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "maze_world/maze_layout.hpp"
#include "maze_world/maze_renderer.hpp"
#include "maze_world/maze_textures.hpp"

namespace df {

namespace {

constexpr int64_t kTurnsAround = 20;  // turns of 18 degrees
constexpr double kTwoPi = 6.283185307179586;
constexpr float kStride = 0.2f;    // blocks per forward action
constexpr float kRadius = 0.25f;   // half the side of the agent
constexpr float kArrived = 0.2f;   // blocks from the goal
constexpr int32_t kGoalSteps = 6;  // blocks to the farthest goal: near goals make the agent turn often
constexpr int64_t kLookAhead = 4;  // blocks of the path that the agent looks along for a straight way

float heading_of(int64_t turns) {
  return static_cast<float>(kTwoPi * static_cast<double>(((turns % kTurnsAround) + kTurnsAround) % kTurnsAround) / kTurnsAround);
}

MazeWorldConfig checked(const MazeWorldConfig& config) {
  const auto check = [](const char* key, int64_t value, int64_t least, int64_t most) {
    if (value < least || value > most) throw Error(fmt::format("data.{}: expected {} to {}, got {}", key, least, most, value));
  };
  check("cells", config.cells, 3, 50);
  check("districts", config.districts, 1, max_districts);
  return config;
}

// Where a walk stands: the agent, its goal and what it is about to do.
struct Walker {
  MazeRandom random;
  Pose pose{};
  Block goal;
  std::vector<int32_t> steps;  // from each block to the goal
  int64_t spins = 0;           // turns left of a look around; negative: to the right
};

}  // namespace

struct MazeWorld::State {
  MazeWorldConfig config;
  MazeLayout layout;

  Block block_of(const Pose& pose) const { return {static_cast<int64_t>(std::floor(pose.x)), static_cast<int64_t>(std::floor(pose.y))}; }

  void choose_goal(Walker& walker) const {
    const std::vector<int32_t> steps = layout.steps_to(block_of(walker.pose));
    std::vector<Block> near;
    for (const Block& block : layout.open())
      if (const int32_t n = steps[static_cast<size_t>(block.row * layout.side() + block.column)]; n > 0 && n <= kGoalSteps)
        near.push_back(block);
    walker.goal = near[static_cast<size_t>(walker.random.below(static_cast<int64_t>(near.size())))];
    walker.steps = layout.steps_to(walker.goal);
  }

  // Whether the agent can walk straight from its pose to a point.
  bool clear_way(const Pose& pose, float x, float y) const {
    const float length = std::max(std::fabs(x - pose.x), std::fabs(y - pose.y));
    const int64_t samples = static_cast<int64_t>(length * 10) + 1;
    for (int64_t i = 1; i <= samples; ++i) {
      const float t = static_cast<float>(i) / static_cast<float>(samples);
      if (!layout.fits(pose.x + (x - pose.x) * t, pose.y + (y - pose.y) * t, kRadius + 0.05f)) return false;
    }
    return true;
  }

  // The farthest of the next blocks on the shortest path that a straight way leads to; else the middle of this block.
  std::pair<float, float> aim(const Walker& walker) const {
    Block at = block_of(walker.pose);
    std::pair<float, float> target{static_cast<float>(at.column) + 0.5f, static_cast<float>(at.row) + 0.5f};
    for (int64_t ahead = 0; ahead < kLookAhead && !(at == walker.goal); ++ahead) {
      const int32_t left = walker.steps[static_cast<size_t>(at.row * layout.side() + at.column)];
      const Block neighbours[] = {{at.column + 1, at.row}, {at.column, at.row + 1}, {at.column - 1, at.row}, {at.column, at.row - 1}};
      at = *std::find_if(std::begin(neighbours), std::end(neighbours), [&](const Block& b) {
        return !layout.wall(b.column, b.row) && walker.steps[static_cast<size_t>(b.row * layout.side() + b.column)] == left - 1;
      });
      const float x = static_cast<float>(at.column) + 0.5f, y = static_cast<float>(at.row) + 0.5f;
      if (clear_way(walker.pose, x, y)) target = {x, y};
    }
    return target;
  }

  MazeAction decide(Walker& walker) const {
    if (walker.spins == 0) {
      const float goal_x = static_cast<float>(walker.goal.column) + 0.5f, goal_y = static_cast<float>(walker.goal.row) + 0.5f;
      if (std::hypot(goal_x - walker.pose.x, goal_y - walker.pose.y) < kArrived) {
        choose_goal(walker);
        if (walker.random.chance(35)) walker.spins = walker.random.chance(50) ? kTurnsAround : -kTurnsAround;
      }
    }
    if (walker.spins != 0) {
      const bool left = walker.spins > 0;
      walker.spins += left ? -1 : 1;
      return left ? MazeAction::left : MazeAction::right;
    }
    const auto [x, y] = aim(walker);
    const double wanted = std::atan2(static_cast<double>(y - walker.pose.y), static_cast<double>(x - walker.pose.x));
    const double off = std::remainder(wanted - static_cast<double>(walker.pose.heading), kTwoPi);
    if (std::fabs(off) <= kTwoPi / kTurnsAround * 0.51) return MazeAction::forward;
    return off > 0 ? MazeAction::left : MazeAction::right;
  }
};

MazeWorld::MazeWorld(const MazeWorldConfig& config, uint64_t seed)
    : state_(new State{config, MazeLayout(checked(config), MazeRandom(derive_seed(seed, {0})))}) {}
MazeWorld::~MazeWorld() = default;

bool MazeWorld::wall(int64_t column, int64_t row) const { return state_->layout.wall(column, row); }
int64_t MazeWorld::district(int64_t column, int64_t row) const { return state_->layout.district(column, row); }
int64_t MazeWorld::blocks() const { return state_->layout.side(); }

void MazeWorld::render(const Pose& pose, int64_t height, int64_t width, float* out) const {
  const float limit = static_cast<float>(blocks());
  if (!(pose.x >= 0 && pose.x <= limit && pose.y >= 0 && pose.y <= limit && std::isfinite(pose.heading)))
    throw Error(fmt::format("pose: expected x and y in 0..{} and a finite heading, got {}, {}, {}", limit, pose.x, pose.y, pose.heading));
  if (height < 1 || width < 1) throw Error(fmt::format("picture: expected at least 1 x 1 pixels, got {} x {}", height, width));
  render_maze(state_->layout, state_->config.textured, pose, height, width, out);
}

Pose MazeWorld::move(const Pose& pose, MazeAction action) const {
  Pose next = pose;
  if (action != MazeAction::forward) {
    const double turns = static_cast<double>(pose.heading) / kTwoPi * kTurnsAround, whole = std::round(turns);
    const int64_t by = action == MazeAction::left ? 1 : -1;
    // Headings on the grid of turns stay exactly on it: a full circle ends where it began.
    next.heading = std::fabs(turns - whole) < 1e-3 ? heading_of(static_cast<int64_t>(whole) + by)
                                                   : static_cast<float>(static_cast<double>(pose.heading) + by * kTwoPi / kTurnsAround);
    return next;
  }
  const float x = pose.x + kStride * static_cast<float>(std::cos(static_cast<double>(pose.heading)));
  const float y = pose.y + kStride * static_cast<float>(std::sin(static_cast<double>(pose.heading)));
  if (state_->layout.fits(x, pose.y, kRadius)) next.x = x;  // along one axis at a time: the agent slides along walls
  if (state_->layout.fits(next.x, y, kRadius)) next.y = y;
  return next;
}

void MazeWorld::walk(uint64_t seed, int64_t count, std::vector<Pose>& poses, std::vector<MazeAction>& actions) const {
  Walker walker{MazeRandom(derive_seed(seed, {1})), {}, {}, {}, 0};
  const auto& open = state_->layout.open();
  const Block start = open[static_cast<size_t>(walker.random.below(static_cast<int64_t>(open.size())))];
  walker.pose = {static_cast<float>(start.column) + 0.5f, static_cast<float>(start.row) + 0.5f,
                 heading_of(walker.random.below(kTurnsAround))};
  state_->choose_goal(walker);
  // Walks are met in the middle, not always at a standstill in the middle of a block.
  for (int64_t i = walker.random.below(60); i > 0; --i) walker.pose = move(walker.pose, state_->decide(walker));
  poses.clear();
  actions.clear();
  for (int64_t i = 0; i < count; ++i) {
    poses.push_back(walker.pose);
    actions.push_back(state_->decide(walker));
    walker.pose = move(walker.pose, actions.back());
  }
}

}  // namespace df
