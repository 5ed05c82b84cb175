// SPDX-License-Identifier: MIT
#include "diffusion_forcing/maze2d/maze2d_batch.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <vector>

#include "core/worker_pool.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/shape.hpp"

namespace df {

namespace {

Tensor doubles(const Tensor& tensor, const char* name, const Shape& expected) {
  check_shape(tensor, name, expected);
  return tensor.to(at::kCPU, at::kDouble).contiguous();
}

}  // namespace

struct Maze2dBatch::State {
  std::vector<Maze2d> worlds;
  std::unique_ptr<WorkerPool> pool;  // null: the caller's thread

  int64_t size() const { return static_cast<int64_t>(worlds.size()); }
  // Each world once.
  void each(const std::function<void(int64_t)>& work) {
    const auto slice = [&](int64_t part, int64_t parts) {
      for (int64_t i = part * size() / parts; i < (part + 1) * size() / parts; ++i) try {
          work(i);
        } catch (const Error& error) {
          throw Error(fmt::format("world {}: {}", i, error.what()));
        }
    };
    if (!pool) return slice(0, 1);
    pool->run([&](int64_t worker) { slice(worker, pool->size()); });
  }
};

Maze2dBatch::Maze2dBatch(const Maze2dLayout& layout, int64_t worlds, int64_t threads, const Maze2dOptions& options)
    : state_(std::make_unique<State>()) {
  if (worlds < 1) throw Error(fmt::format("maze2d: expected a batch of at least one world, got {}", worlds));
  state_->worlds.emplace_back(layout, options);
  for (int64_t i = 1; i < worlds; ++i) state_->worlds.emplace_back(state_->worlds.front(), options);
  if (threads > 1) state_->pool = std::make_unique<WorkerPool>(std::min(threads, worlds), WorkerPool::Work::plain);
}

Maze2dBatch::~Maze2dBatch() = default;

int64_t Maze2dBatch::size() const { return state_->size(); }

void Maze2dBatch::reset(uint64_t seed, bool random_targets) {
  state_->each([&](int64_t i) {
    Maze2d& world = state_->worlds[static_cast<size_t>(i)];
    NumpyRandom random(seed + static_cast<uint64_t>(i));
    world.reset(random);
    if (random_targets) world.set_random_target(random);
  });
}

void Maze2dBatch::set_states(const Tensor& states) {
  const Tensor all = doubles(states, "states", {size(), 4});
  state_->each([&, from = all.const_data_ptr<double>()](int64_t i) {
    const double* s = from + 4 * i;
    state_->worlds[static_cast<size_t>(i)].set_state({s[0], s[1], s[2], s[3]});
  });
}

void Maze2dBatch::set_targets(const Tensor& targets) {
  const Tensor all = doubles(targets, "targets", {size(), 2});
  state_->each([&, from = all.const_data_ptr<double>()](int64_t i) {
    state_->worlds[static_cast<size_t>(i)].set_target({from[2 * i], from[2 * i + 1]});
  });
}

Tensor Maze2dBatch::states() const {
  const Tensor all = at::empty({size(), 4}, at::kDouble);
  double* to = all.mutable_data_ptr<double>();
  for (const Maze2d& world : state_->worlds) to = std::copy(world.state().begin(), world.state().end(), to);
  return all;
}

Tensor Maze2dBatch::targets() const {
  const Tensor all = at::empty({size(), 2}, at::kDouble);
  double* to = all.mutable_data_ptr<double>();
  for (const Maze2d& world : state_->worlds) to = std::copy(world.target().begin(), world.target().end(), to);
  return all;
}

Tensor Maze2dBatch::step(const Tensor& actions) {
  check_shape(actions, "actions", {size(), 2});
  return run(actions.unsqueeze(1)).rewards.squeeze(1);
}

Maze2dBatch::Steps Maze2dBatch::run(const Tensor& actions) {
  const Tensor all = doubles(actions, "actions", {size(), -1, 2});
  const int64_t steps = all.size(1);
  const Steps out{at::empty({size(), steps}, at::kDouble), at::empty({size(), steps, 4}, at::kDouble)};
  const double* from = all.const_data_ptr<double>();
  double *rewards = out.rewards.mutable_data_ptr<double>(), *states = out.states.mutable_data_ptr<double>();
  state_->each([&](int64_t i) {
    Maze2d& world = state_->worlds[static_cast<size_t>(i)];
    for (int64_t s = i * steps; s < (i + 1) * steps; ++s) {
      rewards[s] = world.step({from[2 * s], from[2 * s + 1]});
      std::copy(world.state().begin(), world.state().end(), states + 4 * s);
    }
  });
  return out;
}

}  // namespace df
