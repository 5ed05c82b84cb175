// SPDX-License-Identifier: MIT
// The walks of the generator against D4RL's quirks and statistics, and their windows as a data set.
#include "diffusion_forcing/maze2d/maze2d_data.hpp"

#include <ATen/ATen.h>

#include <cmath>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/maze2d/maze2d_generate.hpp"
#include "diffusion_forcing/maze2d/maze2d_statistics.hpp"
#include "support/support.hpp"

namespace df {
namespace {

using test::error_of;
using test::identical;

OfflineData generate(const std::string& task, int64_t rows, uint64_t seed = 0, double noise = 0.5) {
  return generate_maze2d(maze2d_task(task), {.rows = rows, .seed = seed, .noise = noise});
}

class Maze2dWindows : public ::testing::Test {
 protected:
  Maze2dWindows() {
    config_.cache = folder_.path().string();
    config_.rows = 1000;
    config_.horizon = 60;
    config_.held_out = 0.2;
  }
  std::string error(Split split = Split::train) {
    return error_of([&] { make(config_, split); });
  }
  test::TemporaryFolder folder_;
  Maze2dDataConfig config_;
};

}  // namespace

TEST(Maze2dGenerate, KeepsTheQuirksOfTheReleasedData) {
  const auto& task = maze2d_task("maze2d-medium-v1");
  const OfflineData data = generate(task.id, 20000);
  const auto report = inspect_maze2d(data, task);
  EXPECT_TRUE(report.problems.empty()) << report.problems.front();
  EXPECT_GT(report.segments, 80);
  EXPECT_LE(report.longest_segment, task.max_steps + 1);
  EXPECT_FALSE(data.terminals.any().item<bool>());
  for (const Tensor& tensor : {data.observations, data.actions, data.rewards, data.goals, data.qpos, data.qvel})
    EXPECT_EQ(tensor.scalar_type(), at::kFloat);
  // The repeated row is stale: infos hold the true state.
  const Tensor state = at::cat({data.qpos, data.qvel}, 1), stale = state.ne(data.observations).any(1);
  EXPECT_TRUE(identical(stale.slice(0, 1), data.timeouts.slice(0, 0, -1)));
  EXPECT_FALSE(stale[0].item<bool>());
  // Goals change with timeouts only.
  EXPECT_TRUE(identical(data.goals.diff(1, 0).ne(0).any(1), data.timeouts.slice(0, 0, -1)));
  // One step of the world leads from each true state to the next.
  Maze2d world(task.maze());
  world.set_state({data.qpos[500][0].item<double>(), data.qpos[500][1].item<double>(), data.qvel[500][0].item<double>(),
                   data.qvel[500][1].item<double>()});
  world.step({data.actions[500][0].item<double>(), data.actions[500][1].item<double>()});
  for (int64_t i = 0; i < 4; ++i) EXPECT_NEAR(world.state()[static_cast<size_t>(i)], state[501][i].item<double>(), 1e-5);
}

TEST(Maze2dGenerate, IsAPureFunctionOfItsArguments) {
  const OfflineData one = generate("maze2d-umaze-v1", 2000), same = generate("maze2d-umaze-v1", 2000),
                    other = generate("maze2d-umaze-v1", 2000, 1);
  EXPECT_TRUE(identical(one.observations, same.observations));
  EXPECT_TRUE(identical(one.timeouts, same.timeouts));
  EXPECT_FALSE(at::equal(one.observations, other.observations));
  EXPECT_TRUE(identical(generate("maze2d-umaze-v1", 500).actions, one.actions.slice(0, 0, 500)));
  const OfflineData dense = generate("maze2d-umaze-dense-v1", 2000);
  EXPECT_TRUE(identical(dense.observations, one.observations));
  EXPECT_NEAR(dense.rewards[7].item<double>(),
              std::exp(-std::hypot(one.observations[7][0].item<double>() - 1, one.observations[7][1].item<double>() - 1)), 1e-6);
  EXPECT_EQ(error_of([] { generate("maze2d-umaze-v1", -1); }), "rows: expected 1 or more, or 0 for D4RL's number, got -1");
  EXPECT_EQ(error_of([] { generate("maze2d-umaze-v1", 5, 0, -1); }), "noise: expected 0 or more, got -1");
  EXPECT_EQ(d4rl_rows(maze2d_task("maze2d-large-v1")), 4000000);
}

// A fifth of the full size: deviations between runs are the root of five as large. Three of them, and a little for their rounding.
TEST(Maze2dGenerate, StatisticsAreD4rls) {
  const auto& task = maze2d_task("maze2d-umaze-v1");
  const OfflineData data = generate(task.id, 200000);
  for (const auto& row : compare_statistics(maze2d_statistics(data), task.layout))
    EXPECT_NEAR(row.here, row.regenerated, 3 * std::sqrt(5.0) * row.spread + 1e-4) << row.name;
  const auto report = inspect_maze2d(data, task);
  EXPECT_NEAR(static_cast<double>(report.segments), 12484 / 5.0, 40);
  EXPECT_NEAR(static_cast<double>(report.paths), 1524 / 5.0, 45);
  EXPECT_LE(report.longest_segment, 300);
  EXPECT_LT(report.longest_path, 7500);
  EXPECT_GE(data.observations.select(1, 0).min().item<double>(), 0.38);
  EXPECT_LE(data.observations.select(1, 0).max().item<double>(), 3.24);
  // Without noise the data are others: this is how the released ones are known to have it.
  EXPECT_GT(maze2d_statistics(generate(task.id, 50000, 0, 0.0)).std[2], 2.26);
}

TEST(Maze2dStatistics, DeparturesFromTheGoal) {
  const Tensor x = at::tensor({0.0, 0.8, 1.0, 1.49, 1.5, 3.0, 1.2, 1.2, 1.6}), observations = at::stack({x, at::ones_like(x)}, 1);
  EXPECT_EQ(goal_departures(observations, {1, 1}), (std::vector<int64_t>{3, 7}));
}

TEST(Maze2dStatistics, FindsWhatIsNotD4rls) {
  const auto& task = maze2d_task("maze2d-umaze-v1");
  OfflineData data = generate(task.id, 1000);
  data.terminals[3] = true;
  data.rewards[5] = 0.5;
  data.actions[2][0] = 1.5;
  data.timeouts = data.timeouts.roll(1);
  const auto problems = inspect_maze2d(data, task).problems;
  ASSERT_EQ(problems.size(), 5);
  data.timeouts = Tensor();
  EXPECT_EQ(inspect_maze2d(data, task).problems[0], "timeouts: expected a data set, got none");
  EXPECT_EQ(error_of([] { published_statistics("open"); }),
            "maze open: expected umaze, medium or large, of which statistics are published");
}

TEST_F(Maze2dWindows, TokensHoldTheNextObservationAndTheAction) {
  const auto set = make(config_, Split::train);
  const OfflineData data = load_maze2d(config_);
  const DataSpec spec = set->spec();
  EXPECT_EQ(spec.token.token_shape, (Shape{60}));
  EXPECT_EQ(spec.token.init_shape, (Shape{4}));
  EXPECT_EQ(spec.tokens, 6);
  EXPECT_EQ(set->size(), 800 - 60 + 1);
  EXPECT_EQ(make(config_, Split::validation)->size(), 200 - 60 + 1);
  EXPECT_EQ(spec.frame_mean[0], 1.93279);
  EXPECT_EQ(spec.frame_std[5], 0.750625);
  const Tensor mean = at::tensor(spec.frame_mean, at::kDouble), std = at::tensor(spec.frame_std, at::kDouble);
  for (const int64_t i : {int64_t{0}, int64_t{17}, set->size() - 1}) {
    const Batch window = set->get(i);
    const Tensor raw = window.x.view({60, 6}).to(at::kDouble) * std + mean;
    EXPECT_TRUE(test::close(raw.slice(0, 0, 59).slice(1, 0, 4), data.observations.slice(0, i + 1, i + 60), 1e-6));
    EXPECT_TRUE(test::close(raw.slice(1, 4), data.actions.slice(0, i, i + 60), 1e-6));
    EXPECT_LT(raw[59].slice(0, 0, 4).abs().max().item<double>(), 1e-6);
    EXPECT_TRUE(test::close(window.init.to(at::kDouble) * std.slice(0, 0, 4) + mean.slice(0, 0, 4), data.observations[i], 1e-6));
    EXPECT_EQ(window.mask.sum().item<double>(), 59);
    EXPECT_EQ(window.mask[59].item<double>(), 0);
  }
  EXPECT_EQ(set->get(0, 2).x.size(0), 2);
  EXPECT_TRUE(
      test::close(make(config_, Split::validation)->get(3).init * std.slice(0, 0, 4) + mean.slice(0, 0, 4), data.observations[803], 1e-6));
  EXPECT_EQ(error_of([&] { set->get(set->size() - 1, 7); }), "maze2d-umaze-v1: window 740: expected 70 rows from there on, got 60");
  EXPECT_EQ(error_of([&] { set->get(741); }), "maze2d-umaze-v1: expected a window in 0 .. 740, got 741");
}

TEST_F(Maze2dWindows, RewardsAreThoseOfTheFramesObservations) {
  config_.rows = 4000;
  const auto plain = make(config_, Split::train);
  config_.reward = true;
  const auto set = make(config_, Split::train);
  const OfflineData data = load_maze2d(config_);
  const DataSpec spec = set->spec();
  EXPECT_EQ(spec.token.token_shape, (Shape{70}));
  EXPECT_EQ(spec.frame_mean[6], 0.081254);
  EXPECT_EQ(spec.frame_std[6], 0.27322);
  const int64_t i = data.rewards.nonzero()[0].item<int64_t>() - 30;  // the goal is reached within the window
  ASSERT_GE(i, 0);
  const Tensor frames = set->get(i).x.view({60, 7}), reward = frames.select(1, 6).to(at::kDouble) * 0.27322 + 0.081254;
  EXPECT_TRUE(identical(frames.slice(1, 0, 6).contiguous(), plain->get(i).x.view({60, 6})));
  EXPECT_LT((reward.slice(0, 0, 59) - data.rewards.slice(0, i + 1, i + 60)).abs().max().item<double>(), 1e-6);
  EXPECT_LT(reward[59].abs().item<double>(), 1e-6);  // unknown, as the observation
  EXPECT_GT(reward.max().item<double>(), 0.99);
  EXPECT_TRUE(identical(set->get(i).init, plain->get(i).init));
  EXPECT_EQ(make(config_, Split::validation)->get(3).x.size(1), 70);
  config_.normalizer = Maze2dNormalizer::data;
  EXPECT_NEAR(make(config_, Split::train)->spec().frame_mean[6], data.rewards.slice(0, 0, 3200).to(at::kDouble).mean().item<double>(),
              1e-9);
}

TEST_F(Maze2dWindows, GeneratedDataAreKept) {
  make(config_, Split::train);
  const auto file = folder_.path() / "maze2d-umaze-v1_rows1000_seed0_v1.hdf5";
  ASSERT_TRUE(std::filesystem::exists(file));
  const auto time = std::filesystem::last_write_time(file);
  const Tensor expected = make(config_, Split::train)->get(5).x;
  EXPECT_EQ(std::filesystem::last_write_time(file), time);
  config_.path = file.string();
  EXPECT_TRUE(identical(make(config_, Split::train)->get(5).x, expected));
  config_.rows = 1001;
  EXPECT_EQ(error(), file.string() + ": expected at least data.rows 1001 rows, got 1000");
}

TEST_F(Maze2dWindows, NormalizersOfTheRows) {
  config_.normalizer = Maze2dNormalizer::data;
  config_.action_std = {2, 2};
  const auto set = make(config_, Split::train);
  const Tensor observations = load_maze2d(config_).observations.slice(0, 0, 800).to(at::kDouble);
  EXPECT_NEAR(set->spec().frame_mean[1], observations.select(1, 1).mean().item<double>(), 1e-9);
  EXPECT_EQ(make(config_, Split::validation)->spec().frame_mean, set->spec().frame_mean);
  EXPECT_EQ(set->spec().frame_std[4], 2);
}

TEST_F(Maze2dWindows, ErrorsNameTheKey) {
  const auto says = [&](auto change, const std::string& expected, Split split = Split::train) {
    const Maze2dDataConfig before = config_;
    change(config_);
    EXPECT_EQ(error(split).substr(0, expected.size()), expected);
    config_ = before;
  };
  says([](auto& c) { c.task = "maze2d-tiny-v1"; }, "data.task: unknown task 'maze2d-tiny-v1'; expected one of: maze2d-umaze-v1, ");
  says([](auto& c) { c.horizon = 65; }, "data.horizon: expected a multiple of data.frame_stack 10, got 65");
  says([](auto& c) { c.horizon = 900; }, "data.rows: expected at least data.horizon 900 rows for train, got 800 of 1000");
  says([](auto& c) { c.held_out = 0; }, "data.held_out: expected at least data.horizon 60 rows for validation, got 0 of 1000",
       Split::validation);
  says([](auto& c) { c.held_out = 1; }, "data.held_out: expected 0 or more and less than 1, got 1");
  says([](auto& c) { c.frame_stack = 0; }, "data.frame_stack: expected");
  says([](auto& c) { c.rows = -1; }, "data.rows: expected");
  says([](auto& c) { c.action_std = {1}; }, "data.action_std: expected two numbers above 0 or none, got 1");
  says([](auto& c) { c.task = "maze2d-open-v0"; }, "data.normalizer: maze open: expected umaze, medium or large");
  says([](auto& c) { c.path = "/nowhere.hdf5"; }, "/nowhere.hdf5: no such file");
}

}  // namespace df
