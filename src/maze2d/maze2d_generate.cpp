// SPDX-License-Identifier: MIT
#include "diffusion_forcing/maze2d/maze2d_generate.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/maze2d/waypoint_controller.hpp"

namespace df {

namespace {

// Writes row after row.
class Recorder {
 public:
  explicit Recorder(int64_t rows) {
    data.observations = at::empty({rows, 4}, at::kFloat);
    data.actions = at::empty({rows, 2}, at::kFloat);
    data.rewards = at::empty({rows}, at::kFloat);
    data.terminals = at::zeros({rows}, at::kBool);
    data.timeouts = at::empty({rows}, at::kBool);
    for (Tensor* info : {&data.goals, &data.qpos, &data.qvel}) *info = at::empty({rows, 2}, at::kFloat);
    observation_ = data.observations.mutable_data_ptr<float>();
    action_ = data.actions.mutable_data_ptr<float>();
    reward_ = data.rewards.mutable_data_ptr<float>();
    timeout_ = data.timeouts.mutable_data_ptr<bool>();
    goal_ = data.goals.mutable_data_ptr<float>();
    qpos_ = data.qpos.mutable_data_ptr<float>();
    qvel_ = data.qvel.mutable_data_ptr<float>();
  }

  void row(const Maze2dState& observation, const Point2& action, const Maze2d& world, bool done, const Maze2dTask& task) {
    Maze2dState stored;
    for (size_t i = 0; i < 4; ++i) stored[i] = observation_[i] = static_cast<float>(observation[i]);
    observation_ += 4;
    *reward_++ = static_cast<float>(maze2d_reward(stored, to_point(world.layout().goal), task.dense));
    *timeout_++ = done;
    put(action_, action.data());
    put(goal_, world.target().data());
    put(qpos_, world.state().data());
    put(qvel_, world.state().data() + 2);
  }

  OfflineData data;

 private:
  static void put(float*& to, const double* from) {
    for (int i = 0; i < 2; ++i) *to++ = static_cast<float>(from[i]);
  }
  float *observation_, *action_, *reward_, *goal_, *qpos_, *qvel_;
  bool* timeout_;
};

}  // namespace

int64_t d4rl_rows(const Maze2dTask& task) { return task.layout == "large" ? 4'000'000 : task.layout == "medium" ? 2'000'000 : 1'000'000; }

OfflineData generate_maze2d(const Maze2dTask& task, const Maze2dGeneration& generation) {
  const int64_t rows = generation.rows == 0 ? d4rl_rows(task) : generation.rows;
  if (rows < 1) throw Error(fmt::format("rows: expected 1 or more, or 0 for D4RL's number, got {}", rows));
  if (!(generation.noise >= 0.0) || !std::isfinite(generation.noise))
    throw Error(fmt::format("noise: expected 0 or more, got {}", generation.noise));
  Maze2d world(task.maze(), {.physics = generation.physics});
  WaypointController controller(task.maze());
  NumpyRandom places(derive_seed(generation.seed, Stream::data, 0)), noise(derive_seed(generation.seed, Stream::data, 1));
  Recorder recorder(rows);
  world.set_random_target(places);
  world.reset(places);
  Maze2dState seen = world.state();
  int64_t steps = 0;  // towards this goal
  for (int64_t t = 0; t < rows; ++t) {
    auto [action, done] = controller.act(seen, world.target(), noise);
    for (double& a : action) a = std::clamp(a + generation.noise * noise.normal(), -1.0, 1.0);
    done |= steps >= task.max_steps;
    recorder.row(seen, action, world, done, task);
    world.step(action);
    ++steps;
    if (done) {
      world.set_random_target(places);
      steps = 0;
    } else {
      seen = world.state();
    }
  }
  return recorder.data;
}

}  // namespace df
