// SPDX-License-Identifier: MIT
// The mazes against recordings of D4RL's model under MuJoCo 2.2.2, and against what can be said in closed form.
#include "diffusion_forcing/maze2d/maze2d.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/maze2d/maze2d_task.hpp"
#include "diffusion_forcing/maze2d/waypoint_controller.hpp"
#include "maze2d/particle.hpp"
#include "support/support.hpp"

namespace df {
namespace {

using nlohmann::json;

struct Recorded {
  Maze2dState start{};
  std::vector<Point2> actions;
  std::vector<Maze2dState> states;  // after each action
  std::vector<int64_t> contacts;
};

Recorded recorded(const std::string& maze) {
  std::ifstream file(test::golden_dir() / "maze2d" / ("traj_" + maze + ".csv"));
  Recorded all;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    std::vector<double> numbers;
    std::istringstream cells(line);
    for (std::string cell; std::getline(cells, cell, ',');) numbers.push_back(cell.empty() ? 0.0 : std::stod(cell));
    const Maze2dState state{numbers[3], numbers[4], numbers[5], numbers[6]};
    if (numbers[0] < 0) {
      all.start = state;
      continue;
    }
    all.actions.push_back({numbers[1], numbers[2]});
    all.states.push_back(state);
    all.contacts.push_back(static_cast<int64_t>(numbers[7]));
  }
  return all;
}

struct Difference {
  double largest = 0;
  int64_t wall_contacts = 0;
  bool same_contacts = true;
};

Difference replay(const std::string& maze, Maze2dPhysics physics) {
  const Recorded all = recorded(maze);
  EXPECT_EQ(all.actions.size(), 3000);
  Maze2d world(maze2d_layout(maze), {.physics = physics});
  world.set_state(all.start);
  Difference difference;
  for (size_t t = 0; t < all.actions.size(); ++t) {
    world.step(all.actions[t]);
    for (size_t i = 0; i < 4; ++i) difference.largest = std::max(difference.largest, std::abs(world.state()[i] - all.states[t][i]));
    difference.wall_contacts += all.contacts[t] > 1;
    difference.same_contacts &= world.contacts() == all.contacts[t];
  }
  return difference;
}

json reference_episodes() { return json::parse(read_file(test::golden_dir() / "maze2d" / "ref_score_episodes.json")); }

}  // namespace

TEST(Maze2dPhysics, ModelIsThatOfD4rl) {
  const auto model = make_particle_model(maze2d_mjcf(maze2d_layout("umaze")));
  const auto facts = model->facts();
  EXPECT_NEAR(facts.mass, 4.188790204786391, 1e-14);
  EXPECT_NEAR(facts.inverse_weight, 0.1591549431, 1e-10);
  EXPECT_EQ(facts.timestep, 0.01);
  EXPECT_EQ(facts.iterations, 20);
  EXPECT_TRUE(facts.newton && facts.pyramidal && facts.euler);
  const auto owned = model->make_particle();
  Particle& particle = *owned;
  particle.write({0.8, 1, 0, 0});
  particle.forward();
  EXPECT_EQ(particle.contacts(), 1);  // the ground
  particle.write({0.3, 1, 0, 0});
  particle.forward();
  ASSERT_GE(particle.contacts(), 2);
  for (int64_t i = 0; i < particle.contacts(); ++i) EXPECT_EQ(particle.contact_margin(i), 0.002);
}

TEST(Maze2dPhysics, TrajectoriesEqualTheRecordedOnes) {
  for (const auto& [maze, contacts] : {std::pair{"umaze", 1722}, {"medium", 1317}}) {
    SCOPED_TRACE(maze);
    const Difference exact = replay(maze, Maze2dPhysics::exact);
    EXPECT_LE(exact.largest, 1e-12);
    EXPECT_EQ(exact.wall_contacts, contacts);
    EXPECT_TRUE(exact.same_contacts);
    const Difference fast = replay(maze, Maze2dPhysics::fast);
    EXPECT_LE(fast.largest, 1e-6);
    EXPECT_GT(fast.largest, 0);  // the two are different computations
  }
}

TEST(Maze2dPhysics, FreeFlightIsTheClosedForm) {
  Maze2d world(maze2d_layout("open"));
  NumpyRandom random(3);
  const double mass = 4.0 / 3.0 * M_PI * 0.001 * 1000;
  double largest = 0;
  for (int i = 0; i < 500; ++i) {
    const Maze2dState before{random.uniform(1, 2.5), random.uniform(1, 4.5), random.uniform(-7, 7), random.uniform(-7, 7)};
    const Point2 action{random.uniform(-2, 2), random.uniform(-2, 2)};
    world.set_state(before);
    world.step(action);
    for (size_t d = 0; d < 2; ++d) {
      const double v = std::clamp(before[d + 2], -5.0, 5.0), a = (100 * std::clamp(action[d], -1.0, 1.0) - v) / (mass + 0.01);
      const double next = v + 0.01 * a;
      largest = std::max({largest, std::abs(world.state()[d + 2] - next), std::abs(world.state()[d] - (before[d] + 0.01 * next))});
      EXPECT_LE(std::abs(world.state()[d + 2]), 5.22627);
    }
  }
  EXPECT_LE(largest, 1e-12);
}

TEST(Maze2dPhysics, TheStateAloneDecidesWhatFollows) {
  Maze2d world(maze2d_layout("umaze")), fresh(maze2d_layout("umaze"));
  NumpyRandom random(1);
  for (int i = 0; i < 300; ++i) world.step({random.uniform(-1, 1), random.uniform(-1, 1)});
  const Maze2dState start{0.42, 2.9, -3, 1};
  world.set_state(start);
  fresh.set_state(start);
  for (int i = 0; i < 300; ++i) {
    const Point2 action{random.uniform(-1, 1), random.uniform(-1, 1)};
    ASSERT_EQ(world.step(action), fresh.step(action));
    ASSERT_EQ(world.state(), fresh.state());
  }
}

// D4RL made its reference scores with one controller that never plans again and from the second episode on pushes straight at the goal.
TEST(Maze2dPhysics, ReferenceScoresAreReproduced) {
  const json episodes = reference_episodes();
  for (const auto& [maze, published, dense_published] :
       {std::tuple{"umaze", 161.86, 193.662856423815}, {"medium", 277.39, 297.4552547777125}, {"large", 273.99, 303.4857382709002}}) {
    SCOPED_TRACE(maze);
    const json& reference = episodes.at(maze);
    const Maze2dTask& task = maze2d_task(std::string("maze2d-") + maze + "-v1");
    Maze2d world(task.maze());
    WaypointController controller(task.maze());
    NumpyRandom unused(0);
    const auto starts = reference.at("starts").get<std::vector<Maze2dState>>();
    ASSERT_EQ(starts.size(), 100);
    controller.set_plan(reference.at("waypoints").get<std::vector<Point2>>(), to_point(nearest_cell({starts[0][0], starts[0][1]})));
    double total = 0, dense_total = 0;
    for (size_t e = 0; e < starts.size(); ++e) {
      world.set_state(starts[e]);
      double sum = 0, dense = 0;
      for (int64_t t = 0; t < task.max_steps; ++t) {
        sum += world.step(controller.act(world.state(), world.target(), unused).action);
        dense += maze2d_reward(world.state(), world.target(), true);
      }
      EXPECT_EQ(sum, reference.at("returns_sparse")[e].get<double>()) << e;
      EXPECT_NEAR(dense, reference.at("returns_dense")[e].get<double>(), 1e-9) << e;
      total += sum;
      dense_total += dense;
    }
    EXPECT_DOUBLE_EQ(total / 100, published);
    EXPECT_NEAR(dense_total / 100, dense_published, 1e-9);
    EXPECT_DOUBLE_EQ(normalized_score(task, total / 100), 1.0);
  }
}

TEST(Maze2dPhysics, SeededStartsAndGoalsAreThoseOfGym) {
  const json all = json::parse(read_file(test::golden_dir() / "maze2d" / "df_eval_starts_seed0_31.json"));
  for (const auto& [maze, seeds] : all.items()) {
    ASSERT_EQ(seeds.size(), 32);
    for (const json& one : seeds) {
      Maze2d world(maze2d_layout(maze));
      NumpyRandom random(one.at("seed").get<uint64_t>());
      world.reset(random);
      EXPECT_EQ(world.state(), one.at("start").get<Maze2dState>()) << maze << one.at("seed");
      EXPECT_EQ(world.target(), to_point(world.layout().goal));
      world.set_random_target(random);
      EXPECT_EQ(world.target(), one.at("multi_goal").get<Point2>()) << maze << one.at("seed");
    }
  }
}

TEST(Maze2dPhysics, RewardIsOfTheStateAfterTheStep) {
  Maze2d world(maze2d_layout("open")), dense(maze2d_layout("open"), {.dense = true});
  EXPECT_EQ(world.target(), (Point2{2, 3}));
  for (Maze2d* one : {&world, &dense}) one->set_state({2, 2.49, 0, 5});
  EXPECT_EQ(maze2d_reward(world.state(), world.target(), false), 0);
  EXPECT_EQ(world.step({0, 0}), 1);
  const double reward = dense.step({0, 0});
  EXPECT_EQ(reward, std::exp(-std::abs(3 - dense.state()[1])));
  EXPECT_EQ(maze2d_reward({1.5, 3, 0, 0}, {2, 3}, false), 1);  // the radius belongs to it
  EXPECT_EQ(maze2d_reward({1.499999, 3, 0, 0}, {2, 3}, false), 0);
}

TEST(Maze2dPhysics, NumbersThatAreNotFiniteAreErrors) {
  Maze2d world(maze2d_layout("umaze"));
  EXPECT_EQ(test::error_of([&] { world.step({0, NAN}); }), "maze2d: action[1]: expected a finite number within 1e+06, got nan");
  EXPECT_EQ(test::error_of([&] {
              world.set_state({1, 1, INFINITY, 0});
            }),
            "maze2d: state[2]: expected a finite number within 1e+06, got inf");
  EXPECT_EQ(test::error_of([&] {
              world.set_target({1e9, 0});
            }),
            "maze2d: target[0]: expected a finite number within 1e+06, got 1000000000");
}

TEST(NumpyRandom, Sha512OfAKnownText) {
  const auto hash = sha512("abc");
  EXPECT_EQ(hash[0], 0xdd);
  EXPECT_EQ(hash[1], 0xaf);
  EXPECT_EQ(hash[63], 0x9f);
  EXPECT_EQ(sha512(std::string(200, 'x')), sha512(std::string(200, 'x')));
}

TEST(NumpyRandom, DrawsStayInRange) {
  NumpyRandom random(std::vector<uint32_t>{1, 2, 3});
  double sum = 0, squares = 0;
  std::vector<int> counts(7);
  for (int i = 0; i < 7000; ++i) {
    ++counts[static_cast<size_t>(random.below(7))];
    const double u = random.uniform(-2, 3), n = random.normal();
    EXPECT_TRUE(u >= -2 && u < 3);
    sum += n;
    squares += n * n;
  }
  for (const int count : counts) EXPECT_NEAR(count, 1000, 120);
  EXPECT_NEAR(sum / 7000, 0, 0.05);
  EXPECT_NEAR(squares / 7000, 1, 0.08);
  EXPECT_EQ(random.below(1), 0);
  EXPECT_NE(test::error_of([&] { random.below(0); }).find("expected 1 .. 2^32, got 0"), std::string::npos);
  EXPECT_NE(test::error_of([] { NumpyRandom(std::vector<uint32_t>{}); }).find("at least one number"), std::string::npos);
}

}  // namespace df
