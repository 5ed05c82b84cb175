// SPDX-License-Identifier: MIT
// Layouts, tasks, ways through the mazes, and how well the controllers that follow them score.
#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "diffusion_forcing/maze2d/grid_planner.hpp"
#include "diffusion_forcing/maze2d/maze2d_task.hpp"
#include "diffusion_forcing/maze2d/waypoint_controller.hpp"
#include "support/support.hpp"

namespace df {
namespace {

using test::error_of;

std::string path_text(const std::vector<GridCell>& path) {
  std::string text;
  for (const GridCell& cell : path) text += fmt::format("{}{},{}", text.empty() ? "" : " ", cell.w, cell.h);
  return text;
}

// DF_MAZE2D_EPISODES=1000 repeats the published measurement, at some minutes.
int64_t episodes_or(int64_t few) {
  const char* text = std::getenv("DF_MAZE2D_EPISODES");
  return text ? std::atoll(text) : few;
}

struct Score {
  double mean = 0, error = 0;     // of the episodes' returns, and the standard error of it
  double reach = 0, reached = 0;  // mean step of the first reward, share of episodes that have one
};

struct Play {
  const char* maze;
  bool multi = false;
  double noise = 0;
  WaypointSettings settings;
  bool controlled = true;  // else uniform random actions
};

Score play(const Play& run, int64_t episodes) {
  const Maze2dTask& task = maze2d_task(std::string("maze2d-") + run.maze + "-v1");
  Maze2d world(task.maze(), {.physics = Maze2dPhysics::fast});
  WaypointController controller(task.maze(), run.settings);
  double sum = 0, squares = 0, reach = 0, reached = 0;
  for (int64_t e = 0; e < episodes; ++e) {
    NumpyRandom random(static_cast<uint64_t>(e) + 1000);
    world.reset(random);
    if (run.multi) world.set_random_target(random);
    controller.forget();
    double total = 0;
    int64_t first = 0;
    for (int64_t t = 1; t <= task.max_steps; ++t) {
      Point2 action{random.uniform(-1, 1), random.uniform(-1, 1)};
      if (run.controlled) action = controller.act(world.state(), world.target(), random).action;
      for (double& a : action) a += run.noise > 0 ? run.noise * random.normal() : 0;
      total += world.step(action);
      if (total > 0 && first == 0) first = t;
    }
    sum += total;
    squares += total * total;
    if (first > 0) reach += static_cast<double>(first);
    reached += first > 0;
  }
  const auto n = static_cast<double>(episodes);
  return {sum / n, std::sqrt((squares / n - sum * sum / (n * n)) / n), reach / reached, reached / n};
}

}  // namespace

TEST(Maze2dLayout, CellsComeInD4rlsOrder) {
  const auto& umaze = maze2d_layout("umaze");
  EXPECT_EQ(path_text(umaze.free_cells), "1,2 1,3 2,3 3,1 3,2 3,3 1,1");
  EXPECT_EQ(umaze.goal, (GridCell{1, 1}));
  for (const auto& [name, free, goal] : {std::tuple{"umaze", 7, GridCell{1, 1}},
                                         {"medium", 26, GridCell{6, 6}},
                                         {"large", 46, GridCell{7, 9}},
                                         {"open", 15, GridCell{2, 3}},
                                         {"eval-umaze", 7, GridCell{1, 3}},
                                         {"eval-medium", 26, GridCell{1, 6}},
                                         {"eval-large", 47, GridCell{1, 9}}}) {
    EXPECT_EQ(maze2d_layout(name).free_cells.size(), free) << name;
    EXPECT_EQ(maze2d_layout(name).goal, goal) << name;
  }
  EXPECT_TRUE(umaze.wall({-1, 2}) && umaze.wall({0, 0}) && umaze.wall({1, 5}) && !umaze.wall({1, 1}));
}

TEST(Maze2dLayout, ErrorsNameTheRow) {
  const auto error = [](std::vector<std::string> rows) { return error_of([&] { parse_maze2d_layout("mine", std::move(rows)); }); };
  EXPECT_EQ(error({}), "layout mine: expected rows of '#', 'O' and one 'G', got none");
  EXPECT_EQ(error({"###", "#GO#", "###"}), "layout mine: row 1: expected 3 cells as in row 0, got 4");
  EXPECT_EQ(error({"####", "#Gx#", "####"}), "layout mine: row 1: expected '#', 'O' or 'G' at 2, got 'x'");
  EXPECT_EQ(error({"####", "#OO#", "####"}), "layout mine: expected one goal 'G', got 0");
  EXPECT_EQ(error({"####", "#GG#", "####"}), "layout mine: expected one goal 'G', got 2");
  EXPECT_EQ(error({"###", "#G#", "###"}), "layout mine: expected free cells 'O', got none");
  EXPECT_EQ(error({"####", "#GO#", "#O##"}), "layout mine: row 2: expected a border of '#', got a gap at 1");
  EXPECT_EQ(error({"#####", "#G#O#", "#####"}),
            "layout mine: row 1: expected a way from the goal to each free cell, got none to the one at 3");
  EXPECT_EQ(error_of([] { maze2d_layout("huge"); }),
            "unknown maze 'huge'; expected one of: umaze, medium, large, eval-umaze, eval-medium, eval-large, open");
}

TEST(Maze2dTask, IdsAndScores) {
  EXPECT_EQ(maze2d_tasks().size(), 20);
  const auto& large = maze2d_task("maze2d-large-v1");
  EXPECT_EQ(large.max_steps, 800);
  EXPECT_NEAR(normalized_score(large, 551.1), 2.037, 5e-4);
  EXPECT_EQ(normalized_score(large, 6.7), 0);
  const auto& dense = maze2d_task("maze2d-umaze-dense-v1");
  EXPECT_TRUE(dense.dense);
  EXPECT_EQ(dense.layout, "umaze");
  EXPECT_EQ(dense.reference_min, 68.537689);
  EXPECT_EQ(maze2d_task("maze2d-open-v0").max_steps, 150);
  EXPECT_EQ(maze2d_task("maze2d-umaze-v0").max_steps, 150);
  EXPECT_EQ(maze2d_task("maze2d-eval-large-v1").reference_max, 302.22);
  for (const Maze2dTask& task : maze2d_tasks()) EXPECT_EQ(task.maze().name, task.layout);
  const std::string error = error_of([] { maze2d_task("maze2d-tiny-v1"); });
  EXPECT_EQ(error.rfind("unknown task 'maze2d-tiny-v1'; expected one of: maze2d-umaze-v1, maze2d-umaze-dense-v1, maze2d-medium-v1,", 0), 0u)
      << error;
}

TEST(GridPlanner, PathsAreD4rls) {
  for (const auto& [maze, pairs, longest] : {std::tuple{"umaze", 49, 6u}, {"medium", 676, 11u}}) {
    std::ifstream file(test::golden_dir() / "maze2d" / ("waypoint_cells_" + std::string(maze) + ".txt"));
    const auto& layout = maze2d_layout(maze);
    int64_t lines = 0;
    size_t most = 0;
    for (std::string line; std::getline(file, line); ++lines) {
      const auto colon = line.find(':');
      std::istringstream numbers(line.substr(0, colon));
      GridCell target, start;
      numbers >> target.w >> target.h >> start.w >> start.h;
      const auto path = greedy_path(layout, start, target);
      ASSERT_EQ(path_text(path), line.substr(colon + 1)) << maze << ": " << line;
      most = std::max(most, path.size());
    }
    EXPECT_EQ(lines, pairs);
    EXPECT_EQ(most, longest);
  }
  size_t most = 0;
  const auto& large = maze2d_layout("large");
  for (const GridCell& target : large.free_cells) {
    const auto values = maze2d_values(large, target);
    for (const GridCell& start : large.free_cells) most = std::max(most, greedy_path(large, values, start, target).size());
  }
  EXPECT_EQ(most, 19u);
}

TEST(GridPlanner, WallsLeadOutAndAreNoTargets) {
  const auto& layout = maze2d_layout("umaze");
  EXPECT_EQ(path_text(greedy_path(layout, {0, 2}, {1, 1})), "1,2 1,1");
  EXPECT_EQ(error_of([&] {
              greedy_path(layout, {0, 0}, {1, 1});
            }),
            "start (0, 0): expected a cell of layout umaze with a way to (1, 1), got none");
  EXPECT_EQ(error_of([&] {
              greedy_path(layout, {9, 1}, {1, 1});
            }),
            "start (9, 1): expected a cell of layout umaze with a way to (1, 1), got none");
  EXPECT_EQ(error_of([&] { greedy_path(layout, {1, 1}, {2, 2}); }), "target (2, 2): expected a free cell of layout umaze, got a wall");
}

TEST(WaypointController, PlansOncePerTarget) {
  const auto& layout = maze2d_layout("umaze");
  WaypointController controller(layout);
  NumpyRandom random(0);
  controller.act({3, 1, 0, 0}, {1.05, 0.96}, random);
  ASSERT_EQ(controller.waypoints().size(), 6);
  EXPECT_EQ(controller.waypoints().back(), (Point2{1, 1}));
  EXPECT_TRUE(controller.waypoints()[0][0] <= 3 && controller.waypoints()[0][0] > 2.8);
  const auto first = controller.waypoints();
  controller.act({1, 3, 0, 0}, {1.0, 1.0}, random);
  EXPECT_EQ(controller.waypoints(), first);
  controller.act({1, 3, 0, 0}, {2.0, 3.0}, random);
  EXPECT_EQ(controller.waypoints().size(), 1);
  controller.forget();
  controller.act({1, 2, 0, 0}, {2.0, 3.0}, random);
  EXPECT_EQ(controller.waypoints().size(), 2);
  controller.act({0.39, 0.39, 0, 0}, {1.0, 1.0}, random);  // rounds to a corner of walls
  EXPECT_EQ(controller.waypoints().size(), 1);
  EXPECT_NE(error_of([&] { controller.set_plan({}, {}); }).find("at least one waypoint"), std::string::npos);
  EXPECT_NE(error_of([&] { controller.act({1, 1, 0, 0}, {2, 2}, random); }).find("target (2, 2)"), std::string::npos);
}

TEST(WaypointController, ScoresAreThoseMeasuredBefore) {
  const WaypointSettings d4rl, best = near_optimal_waypoints();
  struct Case {
    Play play;
    double expected;
  };
  const std::vector<Case> cases = {
      {{"umaze", false, 0, d4rl}, 223.5},       {{"medium", false, 0, d4rl}, 419.3},       {{"large", false, 0, d4rl}, 551.1},
      {{"umaze", true, 0, d4rl}, 241.8},        {{"medium", true, 0, d4rl}, 462.5},        {{"large", true, 0, d4rl}, 588.9},
      {{"umaze", false, 0.5, d4rl}, 220.6},     {{"medium", false, 0.5, d4rl}, 412.8},     {{"large", false, 0.5, d4rl}, 534.4},
      {{"umaze", false, 0, best}, 237.6},       {{"medium", false, 0, best}, 457.8},       {{"large", false, 0, best}, 606.7},
      {{"umaze", true, 0, best}, 252.1},        {{"medium", true, 0, best}, 492.5},        {{"large", true, 0, best}, 636.1},
      {{"umaze", false, 0, d4rl, false}, 28.2}, {{"medium", false, 0, d4rl, false}, 17.4}, {{"large", false, 0, d4rl, false}, 8.7}};
  const int64_t episodes = episodes_or(60);
  for (const Case& one : cases) {
    const Score score = play(one.play, one.play.controlled ? episodes : 5 * episodes);  // few random episodes see the goal at all
    const std::string what =
        std::string(one.play.maze) + (one.play.multi ? " multi" : " single") + " p " + std::to_string(one.play.settings.p);
    // The numbers expected have errors of their own: about 1.5 of 1000 episodes.
    EXPECT_NEAR(score.mean, one.expected, 3 * std::hypot(score.error, one.expected > 100 ? 2.0 : 1.0)) << what;
    if (one.play.controlled) {
      EXPECT_EQ(score.reached, 1.0) << what;
    }
    if (std::getenv("DF_MAZE2D_EPISODES"))
      std::printf("%s noise %.1f%s: %.1f +- %.1f, measured before %.1f, first reach %.1f\n", what.c_str(), one.play.noise,
                  one.play.controlled ? "" : " random actions", score.mean, score.error, one.expected, score.reach);
  }
}

}  // namespace df
