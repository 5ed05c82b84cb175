// SPDX-License-Identifier: MIT
// Distances along the data's ways: around walls and out of them, and their gradients.
#include "diffusion_forcing/maze2d/travel_map.hpp"

#include <ATen/ATen.h>
#include <torch/autograd.h>

#include <cmath>
#include <limits>
#include <vector>

#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/maze2d/maze2d_generate.hpp"
#include "maze2d/tiny_planner.hpp"
#include "support/support.hpp"

namespace df {
namespace {

using test::around_a_wall;
using test::close;
using test::error_of;

Tensor point(double x, double y) { return at::tensor({x, y}, at::kDouble).view({1, 1, 2}); }

double metres(const TravelMap& map, const Tensor& maps, double x, double y) { return map.look_up(maps, point(x, y)).item<double>(); }

// d metres / d position, [2].
Tensor slope(const TravelMap& map, const Tensor& maps, double x, double y) {
  const Tensor at = point(x, y).requires_grad_(true);
  return torch::autograd::grad({map.look_up(maps, at).sum()}, {at})[0].view({2});
}

const TravelMap& map_around_a_wall() {
  static const TravelMap map(around_a_wall());
  return map;
}

Tensor maps_to(double x, double y) { return map_around_a_wall().distances(point(x, y).view({1, 2})); }

}  // namespace

TEST(TravelMap, MetresAreThoseOfTheWayAroundTheWall) {
  const TravelMap& map = map_around_a_wall();
  EXPECT_EQ(map.width(), 20 + 31);  // three metres of data, and a margin of one on either side
  EXPECT_EQ(map.height(), 20 + 31);
  const Tensor maps = maps_to(0.5, 0.25);
  EXPECT_EQ(maps.sizes(), (at::IntArrayRef{1, map.height(), map.width()}));
  EXPECT_TRUE(at::isfinite(maps).all().item<bool>());
  // Past the corners (1, 2) and (2, 2); steps to eight neighbours are up to 8.3 % longer.
  const double way = 2 * std::hypot(0.5, 1.75) + 1;
  EXPECT_GT(metres(map, maps, 2.5, 0.25), way - 0.05);
  EXPECT_LT(metres(map, maps, 2.5, 0.25), 1.083 * way + 0.2);
  // In line with the goal it is a straight way, and one without length at the goal.
  EXPECT_NEAR(metres(map, maps, 0.5, 2.25), 2, 0.05);
  EXPECT_LT(metres(map, maps, 0.5, 0.25), 0.08);
  EXPECT_NEAR(metres(map, maps_to(-0.7, 0.25), 0.5, 0.25), 1.2, 0.05);  // a goal outside of the data
}

TEST(TravelMap, WallsLeadOutOfThemselves) {
  const TravelMap& map = map_around_a_wall();
  const Tensor maps = maps_to(0.5, 0.25);
  // Either half of the wall to its own side, though the goal is on the left.
  for (const double y : {0.3, 0.8, 1.2}) {
    EXPECT_NEAR(slope(map, maps, 1.23, y)[0].item<double>(), 4, 1e-3) << y;
    EXPECT_NEAR(slope(map, maps, 1.77, y)[0].item<double>(), -4, 1e-3) << y;
    EXPECT_LT(std::abs(slope(map, maps, 1.77, y)[1].item<double>()), 1.1) << y;
    EXPECT_GT(metres(map, maps, 1.77, y), metres(map, maps, 2.05, y) + 0.5) << y;  // no shortcut
  }
  // In the margin and outside of the map, back in.
  EXPECT_NEAR(slope(map, maps, -0.63, 1.5)[0].item<double>(), -4, 1e-3);
  EXPECT_NEAR(slope(map, maps, -9, 1.53)[0].item<double>(), -1, 1e-3);
  EXPECT_NEAR(slope(map, maps, -9, 1.53)[1].item<double>(), 1, 1e-3);  // along the edge as inside
  EXPECT_NEAR(metres(map, maps, -9, 1.53) - metres(map, maps, -0.95, 1.53), 8.05, 1e-3);
  const Tensor corner = slope(map, maps, 9, 9);
  EXPECT_TRUE(close(corner, at::full({2}, std::sqrt(0.5), at::kDouble), 0.1)) << corner;
}

TEST(TravelMap, WhatIsReachedByNobodyIsWall) {
  const Tensor island = at::tensor({5.0, 1.5}, at::kDouble).view({1, 2}).repeat({30, 1});
  const TravelMap map(at::cat({around_a_wall(), island}));
  const Tensor maps = map.distances(at::tensor({2.5, 1.5, 5.0, 1.5}, at::kDouble).view({2, 2}));
  const double there = metres(map, maps.narrow(0, 0, 1), 5, 1.5);
  EXPECT_NEAR(there, 0.5 + 4 * 2, 0.3);
  EXPECT_NEAR(metres(map, maps.narrow(0, 1, 1), 3, 1.5), 2, 0.06);  // a goal there is sought from the nearest way
  // One row is not enough, unless it is asked to be.
  const Tensor line = at::arange(30, at::kDouble).unsqueeze(1) * at::tensor({0.1, 0.0}, at::kDouble);
  std::vector<Tensor> rows = {around_a_wall()};
  for (const double y : {3.15, 3.25, 3.35}) rows.push_back(line + at::tensor({0.05, y}, at::kDouble));
  const auto above = [&](int64_t min_rows) {
    const TravelMap with(at::cat(rows), 0.1, min_rows);
    return metres(with, with.distances(point(1.5, 2.95).view({1, 2})), 1.5, 3.35);
  };
  EXPECT_NEAR(above(1), 0.4, 0.05);
  EXPECT_GT(above(2), 1);
}

TEST(TravelMap, GradientsAreThoseOfDifferences) {
  const TravelMap& map = map_around_a_wall();
  const Tensor maps = map.distances(at::tensor({0.5, 0.25, 2.5, 1.0}, at::kDouble).view({2, 2}));
  const Tensor at = (seeded_normal({4, 25, 2}, 3).to(at::kDouble) * 1.5 + 1.5).requires_grad_(true);
  const Tensor slopes = torch::autograd::grad({map.look_up(maps, at).sum()}, {at})[0];
  const double step = 1e-6;
  for (int64_t axis = 0; axis < 2; ++axis) {
    const Tensor up = at.detach().clone(), down = at.detach().clone();
    up.select(2, axis).add_(step);
    down.select(2, axis).sub_(step);
    EXPECT_TRUE(close((map.look_up(maps, up) - map.look_up(maps, down)) / (2 * step), slopes.select(2, axis), 1e-4));
  }
  EXPECT_GT(slopes.abs().max().item<double>(), 3);
}

TEST(TravelMap, RowsLieSideBySideByGoal) {
  const TravelMap& map = map_around_a_wall();
  const Tensor maps = map.distances(at::tensor({0.5, 0.25, 2.5, 1.0}, at::kFloat).view({2, 2}));
  const Tensor at = seeded_normal({6, 5, 2}, 4) + 1.5, all = map.look_up(maps, at);
  EXPECT_EQ(all.scalar_type(), at::kFloat);
  for (int64_t b = 0; b < 6; ++b) EXPECT_TRUE(close(map.look_up(maps.narrow(0, b / 3, 1), at.narrow(0, b, 1))[0], all[b], 1e-6)) << b;
  EXPECT_FALSE(close(map.look_up(maps.narrow(0, 0, 1), at), all, 1e-1));
}

TEST(TravelMap, WalksTellTheCorridorsOfAMaze) {
  const auto& task = maze2d_task("maze2d-umaze-v1");
  const TravelMap map(generate_maze2d(task, {.rows = 50000, .physics = Maze2dPhysics::fast}).observations);
  const Tensor maps = map.distances(point(1, 1).view({1, 2}));
  const double ends = metres(map, maps, 3, 1);  // two metres apart; six from cell to cell, at least 4.1 past the corners
  EXPECT_GT(ends, 4.1);
  EXPECT_LT(ends, 6);
  EXPECT_NEAR(metres(map, maps, 1, 3), 2, 0.15);
  EXPECT_LT(slope(map, maps, 2.1, 1)[0].item<double>(), -3);
  EXPECT_GT(slope(map, maps, 1.5, 1)[0].item<double>(), 3);
}

TEST(TravelMap, ErrorsSayWhatWasExpected) {
  const auto made = [](const Tensor& observations, double cell = 0.1, int64_t min_rows = 2) {
    return error_of([&] { TravelMap(observations, cell, min_rows); });
  };
  const std::string rows = "travel map: observations: expected at least one row of at least 2 numbers, got ";
  EXPECT_EQ(made(at::zeros({0, 4})), rows + "[0, 4]");
  EXPECT_EQ(made(at::zeros({3, 1})), rows + "[3, 1]");
  EXPECT_EQ(made(at::zeros({3})), "travel map: observations: expected shape [*, *], got [3]");
  EXPECT_EQ(made(at::full({3, 2}, std::nan(""))), "travel map: observations: expected finite numbers, got NaN or infinity");
  EXPECT_EQ(made(at::zeros({3, 2}), 0), "travel map: cell: expected metres above 0, got 0");
  EXPECT_EQ(made(at::zeros({3, 2}), 0.1, 0), "travel map: min_rows: expected at least 1, got 0");
  EXPECT_EQ(made(at::arange(6, at::kFloat).view({3, 2})), "travel map: expected a cell of 0.1 m with at least 2 rows, got 3 rows and none");
  EXPECT_EQ(made(at::tensor({0.0, 0.0, 1e6, 0.0}, at::kDouble).view({2, 2}), 1.0),
            "travel map: expected at most 4096 cells along a side, got 1000003 (observations span 1000000 m)");
  const TravelMap& map = map_around_a_wall();
  EXPECT_EQ(error_of([&] { map.distances(at::zeros({2, 3})); }), "travel map: goals: expected shape [*, 2], got [2, 3]");
  EXPECT_EQ(error_of([&] {
              map.distances(at::full({1, 2}, std::numeric_limits<double>::infinity()));
            }),
            "travel map: goals: expected finite numbers, got NaN or infinity");
  const Tensor maps = map.distances(at::zeros({2, 2}));
  EXPECT_EQ(error_of([&] {
              map.look_up(maps, at::zeros({3, 5, 2}));
            }),
            "travel map: positions: expected a multiple of 2 goals, got 3 rows");
  EXPECT_EQ(error_of([&] { map.look_up(maps, at::zeros({2, 2})); }), "travel map: positions: expected shape [*, *, 2], got [2, 2]");
  EXPECT_EQ(error_of([&] {
              map.look_up(maps.narrow(1, 0, 3), at::zeros({2, 5, 2}));
            }),
            "travel map: distances: expected shape [*, 51, 51], got [2, 3, 51]");
}

}  // namespace df
