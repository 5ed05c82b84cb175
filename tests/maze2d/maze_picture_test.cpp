// SPDX-License-Identifier: MIT
// Where things stand in pictures of mazes, and in which colours.
#include "diffusion_forcing/maze2d/maze_picture.hpp"

#include <ATen/ATen.h>

#include <array>
#include <cmath>
#include <filesystem>
#include <limits>

#include "diffusion_forcing/maze2d/maze2d_environment.hpp"
#include "diffusion_forcing/media/media.hpp"
#include "diffusion_forcing/planning/episode_pictures.hpp"
#include "support/support.hpp"

namespace df {
namespace {

using test::error_of;
using Rgb = std::array<int, 3>;

constexpr int64_t pixels = 50, crop = 30;
constexpr Rgb white{255, 255, 255}, wall{163, 171, 184};

// The colour at a point of the maze.
Rgb colour_at(const Tensor& picture, const Maze2dLayout& layout, const Point2& p) {
  const auto column = static_cast<int64_t>(std::floor((p[0] + 0.7) * pixels)) - crop;
  const auto row = static_cast<int64_t>(std::floor((static_cast<double>(layout.height()) - 0.7 - p[1]) * pixels)) - crop;
  Rgb rgb;
  for (int64_t c = 0; c < 3; ++c) rgb[static_cast<size_t>(c)] = picture[c][row][column].item<int>();
  return rgb;
}

bool reddish(const Rgb& c) { return c[0] > 180 && c[1] < 90 && c[2] < 90; }
bool bluish(const Rgb& c) { return c[2] > 180 && c[0] < 90; }
bool greenish(const Rgb& c) { return c[1] > 120 && c[0] < 60; }
bool dark(const Rgb& c) { return c[0] < 60 && c[1] < 60 && c[2] < 60; }

Tensor line(const Point2& from, const Point2& to, int64_t frames) {
  const Tensor share = at::linspace(0, 1, frames, at::kDouble);
  return at::stack({from[0] + share * (to[0] - from[0]), from[1] + share * (to[1] - from[1])}, 1);
}

constexpr double never = std::numeric_limits<double>::quiet_NaN();

std::unique_ptr<Environment> medium() { return make_maze2d_environment(maze2d_task("maze2d-medium-v1")); }

EpisodeReport two_episodes(const std::string& name) {
  EpisodeReport report{
      .policy = name, .description = name, .environment = medium()->spec(), .steps = 8, .episodes = {}, .plans = {}, .replannings = {}};
  for (int64_t i = 0; i < 2; ++i) {
    const Tensor way = line({1, 1}, {2, 1}, 9);
    report.episodes.push_back({static_cast<uint64_t>(i), at::cat({way, at::zeros_like(way)}, 1), {1, 1, 0, 0}, {6, 6}, {0, 0, never}});
  }
  return report;
}

int64_t frames_of(const std::filesystem::path& path, Tensor& last) {
  const auto video = open_video(path);
  Tensor frame;
  int64_t count = 0;
  while (video->read(frame)) {
    last = frame.clone();
    ++count;
  }
  return count;
}

}  // namespace

TEST(MazePicture, WallsStandWhereTheBallMeetsThem) {
  const auto& layout = maze2d_layout("medium");
  const auto picture = draw_maze(layout, {.positions = {}, .plan = {}, .points = {}, .start = {1, 1}, .goal = {6, 6}}, pixels);
  EXPECT_EQ(picture.sizes(), (at::IntArrayRef{3, 8 * pixels - 2 * crop, 8 * pixels - 2 * crop}));
  for (int64_t w = 0; w < 8; ++w)
    for (int64_t h = 0; h < 8; ++h)
      for (const double dx : {-0.68, -0.1, 0.28})
        for (const double dy : {-0.68, -0.1, 0.28}) {
          const Point2 p{static_cast<double>(w) + dx, static_cast<double>(h) + dy};
          const bool shown = p[0] > -0.1 && p[1] > -0.1 && p[0] < 6.7 && p[1] < 6.7;
          if (!shown || distance(p, {1, 1}) < 0.25 || distance(p, {6, 6}) < 0.6) continue;
          EXPECT_EQ(colour_at(picture, layout, p), layout.wall({w, h}) ? wall : white) << p[0] << ", " << p[1];
        }
  // The start below on the left, the goal above on the right, with a ring of its radius.
  EXPECT_TRUE(greenish(colour_at(picture, layout, {1, 1})));
  EXPECT_TRUE(reddish(colour_at(picture, layout, {6, 6})));
  EXPECT_TRUE(reddish(colour_at(picture, layout, {5.5, 6})));
  EXPECT_EQ(colour_at(picture, layout, {5.7, 6}), white);
  // x to the right and y up in mazes that are no squares.
  const auto& large = maze2d_layout("large");
  const auto wide = draw_maze(large, {.positions = {}, .plan = {}, .points = {}, .start = {1, 10}, .goal = {7, 9}}, pixels);
  EXPECT_EQ(wide.sizes(), (at::IntArrayRef{3, 12 * pixels - 2 * crop, 9 * pixels - 2 * crop}));
  EXPECT_TRUE(greenish(colour_at(wide, large, {1, 10})));
  EXPECT_EQ(colour_at(wide, large, {1, 5}), wall);
  EXPECT_EQ(colour_at(wide, large, {5, 1}), white);
}

TEST(MazePicture, WaysGoFromBlueToRedAndPlansAreDark) {
  const auto& layout = maze2d_layout("medium");
  MazeDrawing drawing{
      .positions = line({1, 1.5}, {2, 1.5}, 200), .plan = line({1, 1}, {3, 3}, 20), .points = {}, .start = {1, 1}, .goal = {6, 6}};
  const auto picture = draw_maze(layout, drawing, pixels);
  EXPECT_TRUE(bluish(colour_at(picture, layout, {1.02, 1.5})));
  EXPECT_TRUE(reddish(colour_at(picture, layout, {1.98, 1.5})));
  EXPECT_TRUE(dark(colour_at(picture, layout, {2, 2})));
  drawing.frames = 400;  // half of the way is not yet driven
  EXPECT_FALSE(reddish(colour_at(draw_maze(layout, drawing, pixels), layout, {1.98, 1.5})));
  drawing.frames = 100;  // and here it is red from the middle on
  EXPECT_TRUE(reddish(colour_at(draw_maze(layout, drawing, pixels), layout, {1.55, 1.5})));
  EXPECT_FALSE(dark(colour_at(draw_maze(layout, drawing, pixels), layout, {2, 1.5})));
  drawing.ball = true;
  EXPECT_TRUE(dark(colour_at(draw_maze(layout, drawing, pixels), layout, {2, 1.5})));
}

TEST(MazePicture, UnfinishedPlansMayLieAnywhere) {
  const auto& layout = maze2d_layout("umaze");
  auto points = line({1, 2.9}, {3, 2.9}, 3).to(at::kFloat);
  points =
      at::cat({points, at::tensor({1e30F, -1e30F, std::numeric_limits<float>::quiet_NaN(), 0.0F}).view({2, 2}), line({3, 2}, {3, 2}, 1)});
  const MazeDrawing drawing{.positions = {}, .plan = {}, .points = points, .start = {2, 3}, .goal = {1, 1}};
  const auto picture = draw_maze(layout, drawing, pixels);
  EXPECT_TRUE(bluish(colour_at(picture, layout, {1, 2.9})));
  EXPECT_TRUE(reddish(colour_at(picture, layout, {3, 2})));
  EXPECT_EQ(error_of([&] { draw_maze(layout, drawing, 0); }), "maze picture: expected one pixel a cell or more, got 0");
  EXPECT_EQ(error_of([&] {
              draw_maze(layout, {.positions = at::zeros({3, 4}), .plan = {}, .points = {}});
            }),
            "positions: expected shape [*, 2], got [3, 4]");
}

TEST(MazePicture, EpisodesStandInRowsOfReports) {
  const auto maze = medium();
  const auto a = two_episodes("a"), b = two_episodes("b");
  const auto one = draw_episodes(*maze, {a}, 8, 140), both = draw_episodes(*maze, {a, b}, 8, 140),
             first = draw_episodes(*maze, {a}, 1, 140);
  constexpr int64_t side = 160 - 24, caption = 18, gap = 6;
  EXPECT_EQ(first.sizes(), (at::IntArrayRef{3, side + caption, side}));
  EXPECT_EQ(one.sizes(), (at::IntArrayRef{3, side + caption, 2 * side + gap}));
  EXPECT_EQ(both.sizes(), (at::IntArrayRef{3, 2 * (side + caption) + gap, 2 * side + gap}));
  EXPECT_NEAR(static_cast<double>(draw_episodes(*maze, {a}, 1).size(2)), 240.0, 30.0);
  auto planned = a;
  const Tensor way = line({1, 1}, {1, 5}, 10);
  planned.plans.push_back({1, 0, {at::cat({way, way}, 1).unsqueeze(0), {}}});
  planned.plans.push_back({0, 4, {at::cat({way, way}, 1).unsqueeze(0), {}}});  // not of the start
  const auto with_plan = draw_episodes(*maze, {planned}, 8, 140);
  EXPECT_TRUE(at::equal(with_plan.narrow(2, 0, side), one.narrow(2, 0, side)));
  EXPECT_FALSE(at::equal(with_plan.narrow(2, side + gap, side), one.narrow(2, side + gap, side)));
  EXPECT_NE(error_of([&] { draw_episodes(*maze, {}); }).find("got none"), std::string::npos);
}

TEST(MazePicture, VideosShowEachRowAndEachFewSteps) {
  const test::TemporaryFolder folder;
  const auto maze = medium();
  const auto report = two_episodes("a");
  Tensor last;
  write_closed_loop_video(folder.path() / "loop.npz", *maze, {report}, 0, 3);
  write_closed_loop_video(folder.path() / "loop.mp4", *maze, {report, report}, 1, 3, {.width = 140, .fps = 10});
  EXPECT_EQ(frames_of(folder.path() / "loop.mp4", last), 4);  // after 0, 3, 6 and 8 steps
  EXPECT_EQ(last.sizes(), (at::IntArrayRef{3, 136 + 18, 2 * 136 + 6}));
  write_denoising_video(folder.path() / "rows.mp4", *maze, at::randn({5, 30, 2}) * 3, report.episodes[0], {.width = 140});
  EXPECT_EQ(frames_of(folder.path() / "rows.mp4", last), 5);
  EXPECT_EQ(error_of([&] { write_closed_loop_video(folder.path() / "x.mp4", *maze, {report}, 2, 4); }),
            "closed loop: a: expected an episode below 2, got 2");
  EXPECT_NE(error_of([&] { write_closed_loop_video(folder.path() / "x.mp4", *maze, {report}, 0, 0); }).find("got every 0"),
            std::string::npos);
  EXPECT_EQ(error_of([&] {
              write_denoising_video(folder.path() / "x.mp4", *maze, at::zeros({2, 3}), report.episodes[0]);
            }),
            "denoising: rows: expected shape [*, *, 2], got [2, 3]");
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "x.mp4"));
}

}  // namespace df
