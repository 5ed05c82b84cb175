// SPDX-License-Identifier: MIT
// How episodes are started, played, scored and reported, with policies that are made up for it.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>

#include "diffusion_forcing/maze2d/maze2d_batch.hpp"
#include "diffusion_forcing/maze2d/waypoint_policy.hpp"
#include "diffusion_forcing/planning/episodes.hpp"
#include "diffusion_forcing/planning/random_policy.hpp"
#include "maze2d/maze_episodes.hpp"
#include "support/support.hpp"

namespace df {
namespace {

using test::error_of;
using test::first_reach;
using test::identical;
using test::play;

// Remembers how it was asked, and answers as it is told to.
struct Scripted : Policy {
  using Act = std::function<Decision(const Situation&)>;
  explicit Scripted(Act act) : answer(std::move(act)) {}
  void start(int64_t worlds, uint64_t seed, int64_t first_world) override {
    starts.push_back({worlds, static_cast<int64_t>(seed), first_world});
  }
  Decision act(const Situation& situation) override {
    asked.push_back(situation);
    return answer(situation);
  }
  std::string describe() const override { return "scripted"; }
  Act answer;
  std::vector<std::array<int64_t, 3>> starts;
  std::vector<Situation> asked;
};

Decision rest(const Situation& situation, int64_t n) { return {at::zeros({situation.now.state.size(0), n, 2}, at::kDouble), {}, 0.0}; }

template <class Array>
std::vector<double> numbers(const Array& array) {
  return {array.begin(), array.end()};
}

const Maze2dTask& umaze() { return maze2d_task("maze2d-umaze-v1"); }

void expect_same(const EpisodeReport& a, const EpisodeReport& b) {
  ASSERT_EQ(a.episodes.size(), b.episodes.size());
  for (size_t i = 0; i < a.episodes.size(); ++i) {
    const auto &x = a.episodes[i], &y = b.episodes[i];
    EXPECT_TRUE(identical(x.record, y.record)) << a.policy << ", episode " << i;
    EXPECT_EQ(x.seed, y.seed);
    EXPECT_EQ(x.start, y.start);
    EXPECT_EQ(x.goal, y.goal);
    EXPECT_EQ(test::raw(x), test::raw(y));
    EXPECT_EQ(first_reach(x), first_reach(y));
  }
}

}  // namespace

TEST(Episodes, StartAsGymsEnvironmentsDo) {
  Scripted policy([](const Situation& s) { return rest(s, s.steps_left); });
  const auto report = play(umaze(), policy, {.episodes = 5, .steps = 3, .batch = 2, .seed = 40}, {.multi = true});
  EXPECT_EQ(policy.starts, (std::vector<std::array<int64_t, 3>>{{2, 40, 0}, {2, 40, 2}, {1, 40, 4}}));
  ASSERT_EQ(report.episodes.size(), 5u);
  for (size_t i = 0; i < 5; ++i) {
    NumpyRandom random(40 + i);
    Maze2d world(umaze().maze());
    world.reset(random);
    world.set_random_target(random);
    EXPECT_EQ(report.episodes[i].seed, 40 + i);
    EXPECT_EQ(report.episodes[i].start, numbers(world.state()));
    EXPECT_EQ(report.episodes[i].goal, numbers(world.target()));
    EXPECT_EQ(report.episodes[i].record.sizes(), (at::IntArrayRef{4, 4}));
    world.step({0, 0});
    for (int64_t d = 0; d < 4; ++d) EXPECT_EQ(report.episodes[i].record[1][d].item<double>(), world.state()[static_cast<size_t>(d)]);
  }
  EXPECT_EQ(play(umaze(), policy, {.episodes = 1, .steps = 1}).episodes[0].goal, (std::vector<double>{1, 1}));
}

TEST(Episodes, ActionsAreExecutedToTheEndAndNotBeyond) {
  Scripted policy([](const Situation& s) { return rest(s, 4); });
  play(umaze(), policy, {.episodes = 2, .steps = 10});
  ASSERT_EQ(policy.asked.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(policy.asked[i].step, static_cast<int64_t>(4 * i));
    EXPECT_EQ(policy.asked[i].steps_left, static_cast<int64_t>(10 - 4 * i));
  }
  // One after the other: the same as being asked each time.
  const auto push = [](int64_t n) {
    return [n](const Situation& s) {
      const auto all = at::stack({at::arange(s.step, s.step + n, at::kDouble).sin(), at::arange(s.step, s.step + n, at::kDouble).cos()}, 1);
      return Decision{all.expand({s.now.state.size(0), n, 2}), {}, 0.0};
    };
  };
  Scripted often(push(1)), seldom(push(7));
  expect_same(play(umaze(), often, {.episodes = 3, .steps = 40}), play(umaze(), seldom, {.episodes = 3, .steps = 40}));
}

TEST(Episodes, ScoresAreOfTheStatesAfterEachStep) {
  // Rests for some steps, then is where it is: every state counts but the first.
  Scripted policy([](const Situation& s) { return rest(s, s.steps_left); });
  for (const char* id : {"maze2d-umaze-v1", "maze2d-umaze-dense-v1"}) {
    const auto& task = maze2d_task(id);
    const auto report = play(task, policy, {.episodes = 30, .steps = 20});
    int64_t at_goal = 0, elsewhere = 0;
    for (const auto& e : report.episodes) {
      const Point2 goal{e.goal[0], e.goal[1]};
      double raw = 0;
      int64_t first = -1;
      for (int64_t t = 0; t <= 20; ++t) {
        const auto row = e.record[t];
        const Maze2dState state{row[0].item<double>(), row[1].item<double>(), row[2].item<double>(), row[3].item<double>()};
        if (t > 0) raw += maze2d_reward(state, goal, task.dense);
        if (first < 0 && maze2d_reward(state, goal, false) > 0) first = t;
      }
      EXPECT_NEAR(test::raw(e), raw, 1e-12);
      EXPECT_EQ(test::normalized(e), normalized_score(task, test::raw(e)));
      EXPECT_EQ(first_reach(e), first);
      at_goal += first == 0;
      elsewhere += first == -1;
    }
    EXPECT_GT(at_goal, 0);
    EXPECT_GT(elsewhere, 0);
  }
}

TEST(Episodes, BatchAndThreadsChangeNothing) {
  const auto& task = maze2d_task("maze2d-medium-v1");
  for (const bool multi : {false, true})
    for (const auto& make : std::vector<std::function<std::unique_ptr<Policy>()>>{
             [&] { return make_random_policy(maze2d_environment_spec(task)); },
             [&] { return make_waypoint_policy(task.maze(), WaypointKind::replanning); },
             [&] { return make_waypoint_policy(task.maze(), WaypointKind::stale); },
             [&] { return make_waypoint_policy(task.maze(), WaypointKind::near_optimal); }}) {
      const auto played = [&](int64_t batch, int64_t threads) {
        auto policy = make();
        return play(task, *policy, {.episodes = 9, .steps = 150, .batch = batch, .seed = 3}, {.multi = multi, .threads = threads});
      };
      const auto all = played(100, 1);
      expect_same(all, played(4, 1));
      expect_same(all, played(1, 1));
      expect_same(all, played(9, 3));
    }
}

TEST(Episodes, PlansOfTheFirstWorldsAreKept) {
  Scripted policy([](const Situation& s) {
    auto decision = rest(s, 5);
    if (s.step != 5) {  // goes on with the old plan there
      const auto worlds = s.now.state.size(0);
      decision.plan = {at::full({worlds, 7, 4}, static_cast<double>(s.step)) + at::arange(worlds).view({-1, 1, 1}),
                       at::zeros({worlds, 7, 2})};
      decision.planning_seconds = 0.5 * static_cast<double>(worlds);
    }
    return decision;
  });
  const auto report = play(umaze(), policy, {.episodes = 5, .steps = 15, .batch = 2}, {}, 3);
  ASSERT_EQ(report.plans.size(), 6u);
  const std::vector<std::array<int64_t, 3>> expected{{0, 0, 0}, {1, 0, 1}, {0, 10, 10}, {1, 10, 11}, {2, 0, 0}, {2, 10, 10}};
  for (size_t i = 0; i < 6; ++i) {
    const auto& record = report.plans[i];
    EXPECT_EQ((std::array<int64_t, 3>{record.episode, record.step, record.plan.observations[0][0][0].item<int64_t>()}), expected[i]) << i;
    EXPECT_EQ(record.plan.observations.sizes(), (at::IntArrayRef{1, 7, 4}));
    EXPECT_EQ(record.plan.actions.sizes(), (at::IntArrayRef{1, 7, 2}));
  }
  EXPECT_EQ(report.replannings.size(), 6u);
  EXPECT_EQ(mean_replanning(report).worlds, 2);
  EXPECT_EQ(mean_replanning(report).seconds, 1.0);  // the last batch, of one world, does not count
}

TEST(Episodes, BadActionsNamePolicyAndWorld) {
  const auto error = [](const Scripted::Act& act) {
    Scripted policy(act);
    return error_of([&] { play(umaze(), policy, {.episodes = 5, .steps = 4, .batch = 3}); });
  };
  EXPECT_EQ(error([](const Situation& s) { return rest(s, 0); }),
            "policy scripted: step 0: expected floating point actions of shape [3, n, 2] with n >= 1, got Double [3, 0, 2]");
  EXPECT_EQ(error([](const Situation&) { return Decision{}; }),
            "policy scripted: step 0: expected floating point actions of shape [3, n, 2] with n >= 1, got none");
  EXPECT_EQ(error([](const Situation&) {
              return Decision{at::zeros({3, 1, 2}, at::kLong), {}, 0.0};
            }),
            "policy scripted: step 0: expected floating point actions of shape [3, n, 2] with n >= 1, got Long [3, 1, 2]");
  EXPECT_EQ(error([](const Situation& s) {
              auto decision = rest(s, 2);
              if (s.now.state.size(0) == 2 && s.step == 2) decision.actions[1][1][0] = std::numeric_limits<double>::quiet_NaN();
              return decision;
            }),
            "policy scripted: step 2: world 4: expected finite actions, got nan");
  EXPECT_EQ(error([](const Situation& s) {
              auto decision = rest(s, 2);
              decision.plan.observations = at::zeros({1, 2, 4});
              return decision;
            }),
            "policy scripted: planned observations: expected shape [3, *, 4], got [1, 2, 4]");
}

TEST(Episodes, ConfigsAreChecked) {
  const auto error = [](const EpisodeConfig& config, const Maze2dEnvironmentOptions& maze = {}) {
    Scripted policy([](const Situation& s) { return rest(s, 1); });
    return error_of([&] { play(umaze(), policy, config, maze); });
  };
  EXPECT_EQ(error({.episodes = 0}), "episodes: expected 1 or more, got 0");
  EXPECT_EQ(error({.steps = -1}), "steps: expected 0 or more, got -1");
  EXPECT_EQ(error({.batch = 0}), "batch: expected 1 or more, got 0");
  EXPECT_EQ(error({}, {.threads = -2}), "threads: expected 0 or more, got -2");
  for (const auto& [id, full, paper] : {std::tuple{"maze2d-umaze-v1", 300, 300},
                                        {"maze2d-medium-v1", 600, 600},
                                        {"maze2d-large-v1", 800, 600},
                                        {"maze2d-open-v0", 150, 150}}) {
    EXPECT_EQ(episode_steps(maze2d_task(id), Protocol::full), full);
    EXPECT_EQ(episode_steps(maze2d_task(id), Protocol::paper), paper);
  }
}

TEST(Episodes, StopWhenAskedTo) {
  Scripted policy([](const Situation& s) { return rest(s, 5); });
  std::vector<double> fractions;
  const auto stop = [&](double fraction) {
    fractions.push_back(fraction);
    return fraction < 0.7;
  };
  EXPECT_EQ(error_of([&] { play(umaze(), policy, {.episodes = 4, .steps = 10, .batch = 2}, {}, 0, stop); }), "stopped in episode 3 of 4");
  EXPECT_EQ(fractions, (std::vector<double>{0.25, 0.5, 0.75}));
}

TEST(Episodes, EstimatesHaveStandardErrors) {
  const auto e = estimate({1, 2, 3, 6});
  EXPECT_EQ(e.mean, 3.0);
  EXPECT_NEAR(e.error, std::sqrt(14.0 / 3.0 / 4.0), 1e-15);
  EXPECT_EQ(estimate({5}).error, 0.0);
  EXPECT_TRUE(std::isnan(estimate({}).mean) && std::isnan(estimate({}).error));
}

TEST(Episodes, ReportsSayWhatWasPlayed) {
  const auto& large = maze2d_task("maze2d-large-v1");
  const double never = std::numeric_limits<double>::quiet_NaN();
  EpisodeReport one{.policy = "a, b",
                    .description = "made up",
                    .environment = maze2d_environment_spec(large, {.multi = true}),
                    .steps = 800,
                    .episodes = {},
                    .plans = {},
                    .replannings = {{0.25, 2}}};
  one.episodes = {{7, {}, {1, 2, 0, 0}, {7, 9}, {140.345, 0.5, 200}}, {8, {}, {3, 4, 0, 0}, {7, 9.5}, {6.7, 0.0, never}}};
  auto two = one;
  two.policy = "never";
  two.environment = maze2d_environment_spec(large, {.protocol = Protocol::paper});
  two.steps = 50;
  two.replannings.clear();
  two.episodes = {one.episodes[1]};
  EXPECT_EQ(episode_table({one, two}), R"(                    a, b                     never
task                maze2d-large-v1          maze2d-large-v1
goals               multi                    single
protocol            full                     50 steps of the paper protocol's 600
steps               800                      50
episodes            2                        1
raw                 73.5 +- 66.8             6.7 +- 0.0
normalised x 100    25.0 +- 25.0             0.0 +- 0.0
first reach, steps  200.0 +- 0.0             -
reached             50.0 %                   0.0 %
seconds a plan      0.25 (2 worlds at once)  -
)");
  EXPECT_EQ(episode_csv({one, two}), R"(policy,episode,seed,start_x,start_y,goal_x,goal_y,raw,normalized,first_reach
"a, b",0,7,1,2,7,9,140.345,0.5,200
"a, b",1,8,3,4,7,9.5,6.7,0,-1
never,0,8,3,4,7,9.5,6.7,0,-1
)");
  const auto json = nlohmann::json::parse(episode_json({one, two}))["policies"];
  ASSERT_EQ(json.size(), 2u);
  EXPECT_EQ(json[0]["policy"], "a, b");
  EXPECT_EQ(json[0]["goals"], "multi");
  EXPECT_NEAR(json[0]["raw"]["mean"].get<double>(), 73.5225, 1e-9);
  EXPECT_EQ(json[0]["normalized"]["error"], 0.25);
  EXPECT_EQ(json[0]["planning"]["seconds"], 0.25);
  EXPECT_EQ(json[0]["episodes"][0]["first_reach"], 200);
  EXPECT_TRUE(json[0]["episodes"][1]["first_reach"].is_null());
  EXPECT_EQ(json[1]["protocol"], "paper");
  EXPECT_TRUE(json[1]["first_reach"]["mean"].is_null() && json[1]["planning"]["seconds"].is_null());
  EXPECT_EQ(json[1]["reached"], 0.0);
}

}  // namespace df
