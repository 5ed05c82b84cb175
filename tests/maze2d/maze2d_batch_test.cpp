// SPDX-License-Identifier: MIT
#include "diffusion_forcing/maze2d/maze2d_batch.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "diffusion_forcing/core/seed.hpp"
#include "support/support.hpp"

namespace df {
namespace {

using test::error_of;
using test::identical;

}  // namespace

TEST(Maze2dBatch, ResultsDoNotDependOnTheNumberOfThreads) {
  const auto& layout = maze2d_layout("medium");
  const Tensor actions = seeded_normal({7, 200, 2}, 5);
  Maze2dBatch one(layout, 7), three(layout, 7, 3), many(layout, 7, 50);
  for (Maze2dBatch* batch : {&one, &three, &many}) batch->reset(0, true);
  const auto expected = one.run(actions);
  EXPECT_GT(expected.rewards.sum().item<double>(), 0);
  for (Maze2dBatch* batch : {&three, &many}) {
    const auto got = batch->run(actions);
    EXPECT_TRUE(identical(got.rewards, expected.rewards));
    EXPECT_TRUE(identical(got.states, expected.states));
    EXPECT_TRUE(identical(batch->states(), expected.states.select(1, 199)));
    EXPECT_TRUE(identical(batch->targets(), one.targets()));
  }
}

TEST(Maze2dBatch, EqualsSingleWorldsStepByStep) {
  const auto& layout = maze2d_layout("large");
  Maze2dBatch batch(layout, 4, 2, {.dense = true});
  batch.reset(10);
  const Tensor actions = seeded_normal({50, 4, 2}, 1).to(at::kDouble);
  std::vector<Tensor> rewards;
  for (int64_t t = 0; t < 50; ++t) rewards.push_back(batch.step(actions[t]));
  for (int64_t i = 0; i < 4; ++i) {
    Maze2d world(layout, {.dense = true});
    NumpyRandom random(10 + static_cast<uint64_t>(i));
    world.reset(random);
    for (int64_t t = 0; t < 50; ++t)
      EXPECT_EQ(world.step({actions[t][i][0].item<double>(), actions[t][i][1].item<double>()}),
                rewards[static_cast<size_t>(t)][i].item<double>());
    for (size_t d = 0; d < 4; ++d) EXPECT_EQ(batch.states()[i][static_cast<int64_t>(d)].item<double>(), world.state()[d]);
  }
}

TEST(Maze2dBatch, StatesAndTargetsCanBeSet) {
  Maze2dBatch batch(maze2d_layout("open"), 2, 2);
  const Tensor states = at::tensor({1.0, 2.0, 0.0, 0.0, 2.0, 4.0, 0.5, 0.0}, at::kDouble).view({2, 4});
  batch.set_states(states);
  EXPECT_TRUE(identical(batch.states(), states));
  batch.set_targets(states.slice(1, 0, 2));
  EXPECT_TRUE(identical(batch.step(at::zeros({2, 2})), at::ones({2}, at::kDouble)));
}

TEST(Maze2dBatch, AsksForNoThreadsOfOperators) {
  const int threads = at::get_num_threads();
  at::set_num_threads(2);
  const Maze2dBatch batch(maze2d_layout("open"), 4, 4);
  EXPECT_EQ(at::get_num_threads(), 2);
  at::set_num_threads(threads);
}

TEST(Maze2dBatch, ErrorsNameTheWorld) {
  EXPECT_EQ(error_of([] { Maze2dBatch(maze2d_layout("open"), 0); }), "maze2d: expected a batch of at least one world, got 0");
  Maze2dBatch batch(maze2d_layout("open"), 3, 2);
  EXPECT_EQ(error_of([&] { batch.step(at::zeros({3, 3})); }), "actions: expected shape [3, 2], got [3, 3]");
  EXPECT_EQ(error_of([&] { batch.run(at::zeros({2, 5, 2})); }), "actions: expected shape [3, *, 2], got [2, 5, 2]");
  EXPECT_EQ(error_of([&] { batch.set_states(at::zeros({3, 2})); }), "states: expected shape [3, 4], got [3, 2]");
  Tensor actions = at::zeros({3, 2});
  actions[2][1] = NAN;
  EXPECT_EQ(error_of([&] { batch.step(actions); }), "world 2: maze2d: action[1]: expected a finite number within 1e+06, got nan");
}

}  // namespace df
