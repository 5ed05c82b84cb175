// SPDX-License-Identifier: MIT
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/data/video_tokens.hpp"
#include "diffusion_forcing/maze_world/maze_video.hpp"
#include "support/support.hpp"

namespace df {
namespace {

using Picture = std::vector<float>;

Picture render(const MazeWorld& world, const Pose& pose, int64_t height = 32, int64_t width = 32) {
  Picture picture(static_cast<size_t>(3 * height * width), -1.0f);
  world.render(pose, height, width, picture.data());
  return picture;
}

struct Walk {
  std::vector<Pose> poses;
  std::vector<MazeAction> actions;
  Walk(const MazeWorld& world, uint64_t seed, int64_t count) { world.walk(seed, count, poses, actions); }
};

bool same(const Pose& a, const Pose& b) { return a.x == b.x && a.y == b.y && a.heading == b.heading; }

double mean_change(const Picture& a, const Picture& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::fabs(a[i] - b[i]);
  return 255 * sum / static_cast<double>(a.size());
}

MazeVideoConfig small_video() {
  MazeVideoConfig config;
  config.height = config.width = 16;
  config.frames = 8;
  config.clips = 100;
  config.actions = true;
  return config;
}

TEST(MazeWorld, IsTheSameForTheSameSeedAndAnotherForAnother) {
  const MazeWorld a({}, 5), b({}, 5), other({}, 6);
  const Walk walk(a, 1, 20), again(b, 1, 20), elsewhere(a, 2, 20);
  for (size_t i = 0; i < 20; ++i) {
    EXPECT_TRUE(same(walk.poses[i], again.poses[i]));
    EXPECT_EQ(render(a, walk.poses[i]), render(b, again.poses[i]));
  }
  EXPECT_FALSE(same(walk.poses[0], elsewhere.poses[0]));
  EXPECT_GT(mean_change(render(a, walk.poses[0]), render(other, walk.poses[0])), 1.0);
}

TEST(MazeWorld, GroundPlanIsOneConnectedMazeWithLoops) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    MazeWorldConfig config;
    config.cells = 3 + static_cast<int64_t>(seed % 6);
    const MazeWorld world(config, seed);
    const int64_t side = world.blocks();
    ASSERT_EQ(side, 2 * config.cells + 1);
    int64_t open = 0, doors = 0;
    std::vector<std::pair<int64_t, int64_t>> queue = {{1, 1}};
    for (int64_t i = 0; i < side; ++i) {
      EXPECT_TRUE(world.wall(i, 0) && world.wall(i, side - 1) && world.wall(0, i) && world.wall(side - 1, i));
      for (int64_t j = 0; j < side; ++j) {
        open += !world.wall(i, j);
        doors += !world.wall(i, j) && (i + j) % 2 == 1;
      }
    }
    EXPECT_GT(doors, config.cells * config.cells - 1) << "a tree of rooms has no loops";
    std::set<std::pair<int64_t, int64_t>> reached(queue.begin(), queue.end());
    while (!queue.empty()) {
      const auto [column, row] = queue.back();
      queue.pop_back();
      for (const auto& next : {std::pair{column + 1, row}, {column - 1, row}, {column, row + 1}, {column, row - 1}})
        if (!world.wall(next.first, next.second) && reached.insert(next).second) queue.push_back(next);
    }
    EXPECT_EQ(static_cast<int64_t>(reached.size()), open);
  }
}

TEST(MazeWorld, EveryDistrictHasFloor) {
  for (int64_t districts = 1; districts <= 5; ++districts) {
    MazeWorldConfig config;
    config.districts = districts;
    const MazeWorld world(config, 3);
    std::set<int64_t> found;
    for (int64_t row = 0; row < world.blocks(); ++row)
      for (int64_t column = 0; column < world.blocks(); ++column)
        if (!world.wall(column, row)) found.insert(world.district(column, row));
    EXPECT_EQ(static_cast<int64_t>(found.size()), districts);
    EXPECT_EQ(*found.rbegin(), districts - 1);
  }
}

// The middle of the top row is sky, the middle of the bottom row is the floor of the district that the agent stands in.
TEST(MazeWorld, FlatPicturesShowSkyAboveAndTheDistrictsFloorBelow) {
  const float floors[5][3] = {{99, 176, 67}, {47, 127, 208}, {232, 137, 58}, {234, 217, 152}, {154, 79, 156}};
  MazeWorldConfig config;
  config.districts = 5;
  config.textured = false;
  const MazeWorld world(config, 8);
  std::set<int64_t> seen;
  for (int64_t row = 0; row < world.blocks(); ++row)
    for (int64_t column = 0; column + 2 < world.blocks(); ++column) {
      if (world.wall(column, row) || world.wall(column + 1, row) || world.wall(column + 2, row)) continue;
      const int64_t district = world.district(column, row);
      if (world.district(column + 1, row) != district) continue;
      seen.insert(district);
      const Picture picture = render(world, {static_cast<float>(column) + 0.5f, static_cast<float>(row) + 0.5f, 0}, 32, 32);
      for (size_t channel = 0; channel < 3; ++channel) {
        const float sky[] = {127.5f, 209.1f, 255.0f};
        EXPECT_NEAR(255 * picture[channel * 1024 + 16], sky[channel], 3);
        EXPECT_NEAR(255 * picture[channel * 1024 + 31 * 32 + 16], floors[district][channel], 12);
      }
    }
  EXPECT_GE(seen.size(), 3u);
}

TEST(MazeWorld, AFullTurnComesBackToTheSamePicture) {
  const MazeWorld world({}, 4);
  for (const MazeAction turn : {MazeAction::left, MazeAction::right}) {
    const Pose start = Walk(world, 9, 1).poses[0];
    const Picture first = render(world, start);
    Pose pose = world.move(start, turn);
    int64_t turns = 1;
    double largest = 0;
    for (; !same(pose, start) && turns < 100; ++turns) {
      largest = std::max(largest, mean_change(first, render(world, pose)));
      pose = world.move(pose, turn);
    }
    EXPECT_EQ(turns, 20);
    EXPECT_EQ(render(world, pose), first);
    EXPECT_GT(largest, 15.0);
  }
}

TEST(MazeWorld, LeftAndRightAreOpposite) {
  const MazeWorld world({}, 4);
  const Pose pose = Walk(world, 2, 1).poses[0];
  EXPECT_TRUE(same(world.move(world.move(pose, MazeAction::left), MazeAction::right), pose));
  const Pose free{pose.x, pose.y, 0.1f};  // a heading off the grid of turns is kept off it
  EXPECT_NEAR(world.move(free, MazeAction::left).heading, 0.1 + 3.14159265 / 10, 1e-5);
}

// Looking along +x with +y to the left: after a left turn the picture has moved to the right.
TEST(MazeWorld, TurningLeftMovesThePictureRight) {
  const MazeWorld world({}, 12);
  const int64_t width = 64;
  double right = 0, left = 0;
  for (uint64_t seed = 0; seed < 10; ++seed) {
    const Pose pose = Walk(world, seed, 1).poses[0];
    const Picture before = render(world, pose, 1, width), after = render(world, world.move(pose, MazeAction::left), 1, width);
    for (size_t i = 22; i < 42; ++i) {
      right += std::fabs(after[i + 10] - before[i]);
      left += std::fabs(after[i - 10] - before[i]);
    }
  }
  EXPECT_LT(right, 0.6 * left);
}

TEST(MazeWorld, LongerWalksStartWithShorterOnes) {
  const MazeWorld world({}, 1);
  const Walk shorter(world, 3, 50), longer(world, 3, 400);
  for (size_t i = 0; i < 50; ++i) {
    EXPECT_TRUE(same(shorter.poses[i], longer.poses[i]));
    EXPECT_EQ(shorter.actions[i], longer.actions[i]);
  }
}

TEST(MazeWorld, ReplayingTheActionsGivesThePoses) {
  const MazeWorld world({}, 1);
  const Walk walk(world, 3, 1000);
  for (size_t i = 0; i + 1 < 1000; ++i) ASSERT_TRUE(same(world.move(walk.poses[i], walk.actions[i]), walk.poses[i + 1])) << i;
}

TEST(MazeWorld, WalksGoFarTurnBothWaysAndLookAround) {
  for (uint64_t seed = 0; seed < 5; ++seed) {
    const MazeWorld world({}, seed);
    const Walk walk(world, seed, 2000);
    std::set<std::pair<int64_t, int64_t>> visited;
    int64_t count[3] = {}, same_turn = 0, longest = 0;
    for (size_t i = 0; i < 2000; ++i) {
      visited.insert({static_cast<int64_t>(walk.poses[i].x), static_cast<int64_t>(walk.poses[i].y)});
      ++count[static_cast<size_t>(walk.actions[i])];
      same_turn = walk.actions[i] != MazeAction::forward && i > 0 && walk.actions[i] == walk.actions[i - 1] ? same_turn + 1 : 0;
      longest = std::max(longest, same_turn + 1);
    }
    EXPECT_GT(visited.size(), 25u);
    EXPECT_GE(longest, 20);
    for (const int64_t n : count) EXPECT_GT(n, 300);
  }
}

TEST(MazeWorld, TheAgentIsNeverInAWall) {
  const MazeWorld world({}, 2);
  const auto inside = [&](const Pose& pose) {
    for (const float dx : {-0.2f, 0.2f})
      for (const float dy : {-0.2f, 0.2f})
        if (world.wall(static_cast<int64_t>(std::floor(pose.x + dx)), static_cast<int64_t>(std::floor(pose.y + dy)))) return true;
    return false;
  };
  for (const Pose& pose : Walk(world, 1, 3000).poses) ASSERT_FALSE(inside(pose));
  Pose pose = Walk(world, 1, 1).poses[0];  // and not when it runs against walls without looking
  for (int64_t i = 0; i < 3000; ++i) {
    pose = world.move(pose, i % 40 < 30 ? MazeAction::forward : i % 3 ? MazeAction::left : MazeAction::right);
    ASSERT_FALSE(inside(pose));
  }
}

TEST(MazeWorld, PicturesAreInRangeAndChangeSmoothly) {
  for (const bool textured : {false, true}) {
    MazeWorldConfig config;
    config.textured = textured;
    const MazeWorld world(config, 6);
    for (const Pose& pose : Walk(world, 1, 60).poses) {
      const Picture picture = render(world, pose, 24, 40);
      EXPECT_GE(*std::min_element(picture.begin(), picture.end()), 0.0f);
      EXPECT_LE(*std::max_element(picture.begin(), picture.end()), 1.0f);
      const Picture nearby = render(world, {pose.x, pose.y, pose.heading + 1e-3f}, 24, 40);
      EXPECT_LT(mean_change(picture, nearby), 1.0);
    }
  }
}

TEST(MazeWorld, TexturesHaveTheMeanAtAnyResolution) {
  const MazeWorld world({}, 6);
  for (const Pose& pose : Walk(world, 1, 10).poses) {
    const Picture small = render(world, pose, 16, 16), large = render(world, pose, 128, 128);
    double difference = 0;
    for (size_t i = 0; i < small.size(); ++i) {
      const size_t channel = i / 256, row = i / 16 % 16, column = i % 16;
      double mean = 0;
      for (size_t j = 0; j < 64; ++j) mean += large[(channel * 128 + row * 8 + j / 8) * 128 + column * 8 + j % 8] / 64.0;
      difference += std::fabs(mean - small[i]);
    }
    EXPECT_LT(255 * difference / static_cast<double>(small.size()), 3.0);
  }
}

TEST(MazeWorld, RefusesWhatItCannotDraw) {
  const MazeWorld world({}, 0);
  float pixel[3];
  EXPECT_NE(test::error_of([&] { world.render({-1, 2, 0}, 1, 1, pixel); }).find("pose: expected x and y in 0..15"), std::string::npos);
  EXPECT_NE(test::error_of([&] { world.render({2, 2, NAN}, 1, 1, pixel); }).find("finite heading"), std::string::npos);
  EXPECT_NE(test::error_of([&] { world.render({2, 2, 0}, 0, 4, pixel); }).find("0 x 4"), std::string::npos);
}

TEST(MazeVideo, SpecDescribesTheClips) {
  const auto data = make(small_video(), Split::train);
  const DataSpec spec = data->spec();
  const Batch clip = data->get(7);
  EXPECT_EQ(spec.tokens, 2);
  EXPECT_EQ(spec.token.frame_stack, 4);
  EXPECT_EQ(spec.token.token_shape, (Shape{12, 16, 16}));
  EXPECT_EQ(spec.token.condition_dim, 12);
  EXPECT_EQ(clip.x.sizes().vec(), (Shape{2, 12, 16, 16}));
  EXPECT_EQ(clip.c.sizes().vec(), (Shape{2, 12}));
  EXPECT_EQ(clip.facts.sizes().vec(), (Shape{8, 3}));
  EXPECT_LE(clip.x.abs().max().item<float>(), 1.0f);
  EXPECT_EQ(data->get(7, 5).x.size(0), 5);
  EXPECT_NE(data->describe().find("100 train clips"), std::string::npos);
}

TEST(MazeVideo, ClipsFollowFromTheIndexAndLongerOnesStartWithShorterOnes) {
  const auto data = make(small_video(), Split::train), again = make(small_video(), Split::train);
  const Batch clip = data->get(3), longer = again->get(3, 6);
  EXPECT_TRUE(test::identical(longer.x.narrow(0, 0, 2), clip.x));
  EXPECT_TRUE(test::identical(longer.c.narrow(0, 0, 2), clip.c));
  EXPECT_TRUE(test::identical(longer.facts.narrow(0, 0, 8), clip.facts));
  EXPECT_FALSE(at::equal(clip.x, data->get(4).x));
  MazeVideoConfig config = small_video();
  config.seed = 1;
  EXPECT_FALSE(at::equal(clip.x, make(config, Split::train)->get(3).x));
}

TEST(MazeVideo, FramesPosesAndActionsAgree) {
  const auto data = make(small_video(), Split::train);
  const Batch clip = data->get(11, 40);
  const Tensor actions = clip.c.reshape({160, 3});  // row f: what led to frame f
  EXPECT_EQ(actions[0].abs().sum().item<float>(), 0.0f);
  EXPECT_TRUE(test::identical(actions.narrow(0, 1, 159).sum(1), at::ones({159})));
  EXPECT_EQ(actions.max().item<float>(), 1.0f);
  for (int64_t f = 1; f < 160; ++f) {
    const Tensor step = clip.facts[f] - clip.facts[f - 1];
    const double turned = std::remainder(step[2].item<double>(), 2 * 3.14159265358979), moved = step.narrow(0, 0, 2).norm().item<double>();
    const int64_t action = actions[f].argmax().item<int64_t>();
    EXPECT_NEAR(turned, action == 0 ? 0 : (action == 1 ? 1 : -1) * 3.14159265 / 10, 1e-4);
    EXPECT_NEAR(moved, action == 0 ? 0.2 : 0, action == 0 ? 0.2 : 0);
  }
}

TEST(MazeVideo, ValidationIsDisjointFromTraining) {
  const auto train = make(small_video(), Split::train), validation = make(small_video(), Split::validation);
  EXPECT_EQ(train->size(), 100);
  EXPECT_EQ(validation->size(), 64);
  MazeVideoConfig large = small_video();
  large.clips = 40000;
  EXPECT_EQ(make(large, Split::validation)->size(), 4000);
  std::set<std::vector<float>> starts;
  for (const auto& data : {train, validation})
    for (int64_t i = 0; i < data->size(); ++i) {
      const Tensor first = data->get(i, 1).x.contiguous();
      starts.emplace(first.const_data_ptr<float>(), first.const_data_ptr<float>() + first.numel());
    }
  EXPECT_EQ(starts.size(), 164u);
}

TEST(MazeVideo, WithoutActionsThereIsNoCondition) {
  MazeVideoConfig config = small_video();
  config.actions = false;
  const auto data = make(config, Split::train);
  EXPECT_EQ(data->spec().token.condition_dim, 0);
  EXPECT_FALSE(data->get(0).c.defined());
}

TEST(MazeVideo, BadConfigurationsNameTheKey) {
  const auto message = [](const std::function<void(MazeVideoConfig&)>& spoil) {
    MazeVideoConfig config;
    spoil(config);
    return test::error_of([&] { make(config, Split::train); });
  };
  EXPECT_EQ(message([](auto& c) { c.frames = 10; }), "data.frames: expected a multiple of frame_stack 4, got 10");
  EXPECT_EQ(message([](auto& c) { c.frames = 0; }), "data.frames: expected at least 1, got 0");
  EXPECT_EQ(message([](auto& c) { c.frame_stack = 0; }), "data.frame_stack: expected at least 1, got 0");
  EXPECT_EQ(message([](auto& c) { c.height = 0; }), "data.height: expected at least 8, got 0");
  EXPECT_EQ(message([](auto& c) { c.width = -4; }), "data.width: expected at least 8, got -4");
  EXPECT_EQ(message([](auto& c) { c.clips = 0; }), "data.clips: expected at least 1, got 0");
  EXPECT_EQ(message([](auto& c) { c.world.districts = 0; }), "data.districts: expected 1 to 5, got 0");
  EXPECT_EQ(message([](auto& c) { c.world.districts = 6; }), "data.districts: expected 1 to 5, got 6");
  EXPECT_EQ(message([](auto& c) { c.world.cells = 2; }), "data.cells: expected 3 to 50, got 2");
  const auto data = make(MazeVideoConfig{}, Split::train);
  EXPECT_EQ(test::error_of([&] { data->get(40000); }), "maze_video: expected an index in 0..39999, got 40000");
  EXPECT_NE(test::error_of([&] { data->get(-1); }), "");
  EXPECT_NE(test::error_of([&] { data->get(0, -1); }), "");
}

}  // namespace
}  // namespace df
