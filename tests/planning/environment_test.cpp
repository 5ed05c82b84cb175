// SPDX-License-Identifier: MIT
// Episodes, tables, files and pictures of an environment that is no maze, played by a policy that answers with chunks of actions.
#include "diffusion_forcing/planning/environment.hpp"

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "diffusion_forcing/media/media.hpp"
#include "diffusion_forcing/planning/episode_pictures.hpp"
#include "diffusion_forcing/planning/episodes.hpp"
#include "diffusion_forcing/planning/random_policy.hpp"
#include "planning/point_world.hpp"
#include "support/support.hpp"

namespace df {
namespace {

using test::ChunkPolicy;
using test::error_of;
using test::identical;
using test::PointWorld;

EpisodeReport play(Policy& policy, const EpisodeConfig& config, uint64_t blind = 2) {
  PointWorld world(blind);
  return run_episodes(world, policy, config);
}

void expect_same(const Episode& a, const Episode& b) {
  EXPECT_EQ(a.seed, b.seed);
  EXPECT_EQ(a.start, b.start);
  EXPECT_EQ(a.goal, b.goal);
  EXPECT_EQ(a.outcome, b.outcome);
  EXPECT_TRUE(identical(a.record, b.record));
}

}  // namespace

TEST(Environment, ChunksReachTheGoalAlsoWhereTheCameraIsMissing) {
  ChunkPolicy policy(5);
  const auto report = play(policy, {.episodes = 4});
  ASSERT_EQ(report.episodes.size(), 4u);
  for (const auto& episode : report.episodes) {
    EXPECT_EQ(outcome(report, episode, "success"), 1.0);
    EXPECT_EQ(outcome(report, episode, "first_reach"), episode.goal[0] - episode.start[0]);
    EXPECT_EQ(episode.record.sizes(), (at::IntArrayRef{13, 1}));
    EXPECT_EQ(episode.record[0][0].item<double>(), episode.start[0]);
    EXPECT_EQ(episode.record[12][0].item<double>(), episode.goal[0]);
  }
  ASSERT_EQ(policy.asked.size(), 3u);  // at steps 0, 5 and 10 of 12
  EXPECT_EQ(policy.asked[2].step, 10);
  EXPECT_EQ(policy.asked[2].steps_left, 2);
  EXPECT_FALSE(policy.asked[0].now.missing.any().item<bool>());
  EXPECT_TRUE(at::equal(policy.asked[1].now.missing.squeeze(1), at::tensor({0, 0, 1, 0}).to(at::kBool)));
  EXPECT_EQ(policy.asked[1].now.images[0].sizes(), (at::IntArrayRef{4, 3, 1, 8}));
  EXPECT_EQ(report.plans.size(), 12u);
}

// World i follows from (seed, i): the same for all policies, batches and first worlds.
TEST(Environment, WorldsFollowFromSeedAndNumber) {
  ChunkPolicy policy(3);
  const auto all = play(policy, {.episodes = 7, .seed = 20}, 22), few = play(policy, {.episodes = 7, .batch = 2, .seed = 20}, 22),
             later = play(policy, {.episodes = 3, .seed = 24}, 22);
  const auto random = make_random_policy(all.environment);
  const auto other = play(*random, {.episodes = 7, .batch = 3, .seed = 20}, 22);
  for (size_t i = 0; i < 7; ++i) {
    expect_same(all.episodes[i], few.episodes[i]);
    EXPECT_EQ(all.episodes[i].start, other.episodes[i].start);
    EXPECT_EQ(all.episodes[i].goal, other.episodes[i].goal);
  }
  for (size_t i = 0; i < 3; ++i) expect_same(all.episodes[i + 4], later.episodes[i]);
}

TEST(Environment, PoliciesSeeTheEarlierObservationsThatTheyAskFor) {
  ChunkPolicy blind(4), seeing(4, 2), all(4, 100);
  const auto report = play(blind, {.episodes = 2});
  for (auto* policy : {&seeing, &all}) {
    const auto again = play(*policy, {.episodes = 2});
    for (size_t i = 0; i < 2; ++i) expect_same(report.episodes[i], again.episodes[i]);  // to look changes nothing
  }
  EXPECT_TRUE(blind.asked[1].earlier.empty());
  EXPECT_TRUE(seeing.asked[0].earlier.empty());
  ASSERT_EQ(seeing.asked[1].earlier.size(), 2u);
  ASSERT_EQ(all.asked[2].earlier.size(), 8u);
  const auto& record = report.episodes[1].record;
  for (int64_t t = 0; t < 8; ++t)
    EXPECT_EQ(all.asked[2].earlier[static_cast<size_t>(t)].state[1].item<double>(), record[t].item<double>()) << t;
  for (int64_t t = 0; t < 2; ++t)
    EXPECT_EQ(seeing.asked[2].earlier[static_cast<size_t>(t)].state[1].item<double>(), record[6 + t].item<double>()) << t;
  EXPECT_EQ(seeing.asked[2].now.state[1].item<double>(), record[8].item<double>());
}

TEST(Environment, TablesAndFilesHaveItsNumbers) {
  ChunkPolicy policy(5);
  auto report = play(policy, {.episodes = 2});
  report.policy = "chunks";
  report.episodes[0].start = {1};
  report.episodes[0].goal = {5};
  report.episodes[0].outcome = {1, -10, 4};
  report.episodes[1].start = {0};
  report.episodes[1].goal = {7.5};
  report.episodes[1].outcome = {0, -30, std::numeric_limits<double>::quiet_NaN()};
  EXPECT_EQ(episode_table({report}), R"(                    chunks
task                point-on-a-line
steps               12
episodes            2
at the goal, %      50.0 +- 50.0
score               -20.0 +- 10.0
first reach, steps  4.0 +- 0.0
reached             50.0 %
seconds a plan      0.125 (2 worlds at once)
)");
  EXPECT_EQ(episode_csv({report}), R"(policy,episode,seed,start_x,goal_x,success,score,first_reach
chunks,0,0,1,5,1,-10,4
chunks,1,1,0,7.5,0,-30,-1
)");
  const auto json = nlohmann::json::parse(episode_json({report}))["policies"][0];
  EXPECT_EQ(json["task"], "point-on-a-line");
  EXPECT_EQ(json["score"]["mean"], -20.0);
  EXPECT_EQ(json["reached"], 0.5);
  EXPECT_EQ(json["episodes"][0]["first_reach"], 4);
  EXPECT_TRUE(json["episodes"][1]["first_reach"].is_null());
  EXPECT_EQ(json["episodes"][1]["goal"][0], 7.5);
  EXPECT_FALSE(json.contains("protocol"));
  EXPECT_EQ(error_of([&] { outcome(report, report.episodes[0], "speed"); }),
            "point-on-a-line: unknown number 'speed' of an episode; expected one of: success, score, first_reach");
  auto other = report;
  other.environment.outcomes.pop_back();
  EXPECT_NE(error_of([&] { episode_csv({report, other}); }).find("expected environments with the same numbers"), std::string::npos);
}

TEST(Environment, IsDrawnInPicturesAndVideos) {
  const test::TemporaryFolder folder;
  const PointWorld world;
  ChunkPolicy policy(5);
  const auto report = play(policy, {.episodes = 3});
  const Tensor picture = draw_episodes(world, {report, report}, 8, 160);
  EXPECT_EQ(picture.sizes(), (at::IntArrayRef{3, 2 * (20 + 18) + 6, 3 * 160 + 2 * 6}));
  write_closed_loop_video(folder.path() / "loop.mp4", world, {report}, 0, 4);
  write_denoising_video(folder.path() / "rows.mp4", world, at::rand({5, 6, 1}) * 7, report.episodes[0]);
  for (const auto& [name, frames] : {std::pair{"loop.mp4", 4}, {"rows.mp4", 5}}) {
    const auto video = open_video(folder.path() / name);
    Tensor frame;
    int count = 0;
    while (video->read(frame)) ++count;
    EXPECT_EQ(count, frames) << name;
  }
}

// Whoever writes an environment hears of what it shows wrongly.
TEST(Environment, WrongObservationsAreNamed) {
  struct Wrong final : Environment {
    PointWorld world;
    EnvironmentSpec own = world.spec();
    const EnvironmentSpec& spec() const override { return own; }
    void reset(uint64_t seed, int64_t first, int64_t worlds) override { world.reset(seed, first, worlds); }
    Observation observe() override { return world.observe(); }
    Steps step(const Tensor& actions) override { return world.step(actions); }
    Tensor record() const override { return world.record(); }
    Tensor outcome() const override { return world.outcome(); }
  };
  const auto error = [](auto change) {
    Wrong wrong;
    change(wrong.own);
    ChunkPolicy policy(2);
    return error_of([&] { run_episodes(wrong, policy, {.episodes = 2}); });
  };
  EXPECT_EQ(error([](EnvironmentSpec& s) { s.observation = 3; }), "point-on-a-line: state: expected shape [2, 3], got [2, 1]");
  EXPECT_EQ(error([](EnvironmentSpec& s) { s.cameras[0].width = 9; }),
            "point-on-a-line: image of above: expected shape [2, 3, 1, 9], got [2, 3, 1, 8]");
  EXPECT_EQ(error([](EnvironmentSpec& s) { s.cameras.clear(); }), "point-on-a-line: expected images of 0 cameras, got 1");
  EXPECT_EQ(error([](EnvironmentSpec& s) { s.outcomes.pop_back(); }), "point-on-a-line: outcome: expected shape [2, 2], got [2, 3]");
  EXPECT_EQ(error_of([] {
              Wrong world;
              ChunkPolicy policy(2);
              draw_episodes(world, {run_episodes(world, policy, {.episodes = 1})});
            }),
            "point-on-a-line: expected an environment that can be drawn, this one has no pictures");
}

}  // namespace df
