// SPDX-License-Identifier: MIT
// Diffuser's windows: cut at departures from the goal, inside one path, between -1 and 1.
#include "diffusion_forcing/maze2d/maze2d_paths.hpp"

#include <ATen/ATen.h>

#include <set>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/maze2d/maze2d_statistics.hpp"
#include "support/support.hpp"

namespace df {
namespace {

using test::close;
using test::error_of;

// A walk along y = 1 in the U-shaped maze, whose goal is (1, 1): rows at `inside` are at the goal. Every other number is unique to its row.
OfflineData walk(int64_t rows, const std::set<int64_t>& inside) {
  OfflineData data;
  data.observations = seeded_normal({rows, 4}, 1);
  data.actions = seeded_normal({rows, 2}, 2).clamp(-1, 1);
  data.rewards = at::zeros({rows});
  data.terminals = at::zeros({rows}, at::kBool);
  for (int64_t row = 0; row < rows; ++row) {
    data.observations[row][0] = inside.count(row) ? 1.2 : 2.0 + 0.01 * static_cast<double>(row);
    data.observations[row][1] = 1.0;
  }
  data.observations.select(1, 1) += 0.001 * at::arange(rows, at::kFloat);
  return data;
}

class Maze2dPaths : public ::testing::Test {
 protected:
  Maze2dPaths() {
    config_.path = (folder_.path() / "walk.hdf5").string();
    config_.horizon = 4;
    config_.held_out = 0;
  }
  std::shared_ptr<const Dataset> of(const OfflineData& data, Split split = Split::train) {
    write_d4rl(config_.path, data);
    return make(config_, split);
  }
  // Frames [H, 6] as they were before normalisation.
  static Tensor raw(const Dataset& set, const Tensor& x) {
    return x * at::tensor(set.spec().frame_std, at::kFloat) + at::tensor(set.spec().frame_mean, at::kFloat);
  }
  test::TemporaryFolder folder_;
  Maze2dPathsConfig config_;
};

}  // namespace

// Departures after rows 2, 10 and 16: paths of rows 0-1, 3-9 and 11-15, and a tail.
TEST_F(Maze2dPaths, WindowsAreInsideOnePath) {
  const OfflineData data = walk(30, {1, 2, 9, 10, 16});
  const auto paths = maze2d_paths(data.observations, {1, 1});
  ASSERT_EQ(paths.size(), 3);
  const int64_t expected[][2] = {{0, 2}, {3, 10}, {11, 16}};
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ((std::array{paths[i].begin, paths[i].end}), (std::array{expected[i][0], expected[i][1]})) << i;
  const auto set = of(data);
  const int64_t starts[] = {3, 4, 5, 11};  // start < length - horizon
  ASSERT_EQ(set->size(), 4);
  const Tensor rows = at::cat({data.observations, data.actions}, 1);
  for (int64_t i = 0; i < 4; ++i) {
    const Batch window = set->get(i);
    const Tensor frames = rows.slice(0, starts[i], starts[i] + 4);
    EXPECT_EQ(window.x.sizes().vec(), (Shape{1, 4, 6}));
    EXPECT_EQ(window.c.sizes().vec(), (Shape{1, 8}));
    EXPECT_TRUE(close(raw(*set, window.x[0]), frames, 1e-6)) << i;
    EXPECT_TRUE(test::identical(window.c[0].slice(0, 0, 4), window.x[0][0].slice(0, 0, 4)));
    EXPECT_TRUE(test::identical(window.c[0].slice(0, 4, 8), window.x[0][3].slice(0, 0, 4)));
    EXPECT_FALSE(window.mask.defined());
    EXPECT_FALSE(window.init.defined());
  }
  const DataSpec spec = set->spec();
  EXPECT_EQ(spec.token.token_shape, (Shape{4, 6}));
  EXPECT_EQ(spec.token.condition_dim, 8);
  EXPECT_EQ(spec.token.frame_stack, 4);
  EXPECT_EQ(spec.tokens, 1);
  EXPECT_EQ(set->describe(), "maze2d_paths " + config_.path + " (train): 4 windows of 4 frames from 3 paths, the longest 7 rows");
  EXPECT_EQ(error_of([&] { set->get(4); }), config_.path + ": expected a window in 0 .. 3, got 4");
  EXPECT_EQ(error_of([&] { set->get(0, 2); }), config_.path + ": expected 1 token a sequence (a whole trajectory is one), got 2");
}

TEST_F(Maze2dPaths, LimitsAreThoseOfThePaths) {
  const OfflineData data = walk(30, {1, 2, 9, 10, 16});
  const auto set = of(data);
  // Rows of paths only, those of paths too short for a window included.
  const Tensor rows = at::cat({data.observations, data.actions}, 1);
  const Tensor used = at::cat({rows.slice(0, 0, 2), rows.slice(0, 3, 10), rows.slice(0, 11, 16)});
  const Tensor mean = at::tensor(set->spec().frame_mean), std = at::tensor(set->spec().frame_std);
  EXPECT_TRUE(close(mean + std, used.amax(0).to(mean.scalar_type()), 1e-6));
  EXPECT_TRUE(close(mean - std, used.amin(0).to(mean.scalar_type()), 1e-6));
}

TEST_F(Maze2dPaths, FramesOfRealWalksReachFromMinusOneToOne) {
  Maze2dPathsConfig config;
  config.cache = folder_.path().string();
  config.rows = 20000;
  config.horizon = 64;
  config.held_out = 0.2;
  const auto set = make(config, Split::train), validation = make(config, Split::validation);
  EXPECT_EQ(validation->spec().frame_mean, set->spec().frame_mean);
  EXPECT_EQ(validation->spec().frame_std, set->spec().frame_std);
  EXPECT_GT(validation->size(), 500);
  double least = 0, most = 0;
  for (int64_t i = 0; i < set->size(); i += 40) {
    const Tensor x = set->get(i).x;
    least = std::min(least, x.min().item<double>());
    most = std::max(most, x.max().item<double>());
    // Inside one path: a departure could be at the last frame only, and that row is dropped.
    const Tensor frames = raw(*set, x[0]);
    EXPECT_TRUE(goal_departures(frames.slice(1, 0, 4), {1, 1}).empty()) << i;
  }
  EXPECT_NEAR(least, -1, 1e-5);
  EXPECT_NEAR(most, 1, 1e-5);
}

TEST_F(Maze2dPaths, ErrorsNameTheKey) {
  const OfflineData data = walk(30, {1, 2, 9, 10, 16});
  const auto says = [&](auto change, const std::string& expected, Split split = Split::train) {
    const Maze2dPathsConfig before = config_;
    change(config_);
    EXPECT_EQ(error_of([&] { make(config_, split); }).substr(0, expected.size()), expected);
    config_ = before;
  };
  of(data);
  says([](auto& c) { c.horizon = 7; }, "data.horizon: expected fewer than the 7 rows of the longest path for train, got 7");
  says([](auto& c) { c.horizon = 1; }, "data.horizon: expected at least 2, got 1");
  says([](auto& c) { c.task = "maze2d-tiny-v1"; }, "data.task: unknown task 'maze2d-tiny-v1'; expected one of: maze2d-umaze-v1, ");
  says([](auto& c) { c.held_out = 1; }, "data.held_out: expected 0 or more and less than 1, got 1");
  says([](auto& c) { c.held_out = 0.1; },
       "data.held_out: expected a walk that leaves the goal of maze2d-umaze-v1 for validation, got one that never does", Split::validation);
  says([](auto&) {}, "data.held_out: expected a walk that leaves the goal", Split::validation);
  says([](auto& c) { c.rows = 2; },
       "data.rows: expected a walk that leaves the goal of maze2d-umaze-v1 for train, got one that never does");
  says([](auto& c) { c.rows = -1; }, "data.rows: expected at least 0, got -1");
  OfflineData still = data;
  still.actions = at::zeros_like(data.actions);
  write_d4rl(config_.path, still);
  says([](auto&) {}, config_.path + ": expected numbers that differ in entry 4 of the frames, got 0 only");
}

}  // namespace df
