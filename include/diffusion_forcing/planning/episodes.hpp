// SPDX-License-Identifier: MIT
// Episodes of a maze2d task played by a policy, and their scores.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "diffusion_forcing/core/enum_names.hpp"
#include "diffusion_forcing/environments/maze2d.hpp"
#include "diffusion_forcing/environments/maze2d_task.hpp"
#include "diffusion_forcing/planning/policy.hpp"

namespace df {

enum class Protocol {
  full,   // the task's own number of steps: 300, 600, 800 on umaze, medium, large
  paper,  // Chen et al. 2024: 300, 600, 600, so large is scored over 600 of its 800 steps
};
template <>
struct EnumNames<Protocol> {
  static constexpr std::pair<std::string_view, Protocol> table[] = {{"full", Protocol::full}, {"paper", Protocol::paper}};
};
int64_t episode_steps(const Maze2dTask& task, Protocol protocol);

struct EpisodeConfig {
  int64_t episodes = 100;
  bool multi = false;  // a random goal each episode, drawn after the start (multi task)
  Protocol protocol = Protocol::full;
  int64_t steps = 0;    // of an episode in place of the protocol's; 0: the protocol's
  int64_t batch = 100;  // worlds at once
  int64_t threads = 1;
  uint64_t seed = 0;  // world i starts as gym's environment seeded with seed + i
  Maze2dPhysics physics = Maze2dPhysics::exact;
};
// Throws df::Error naming the field.
void validate(const EpisodeConfig& config);

struct Episode {
  uint64_t seed = 0;
  Maze2dState start{};
  Point2 goal{};
  double raw = 0.0;         // sum of the rewards of the states after each step
  double normalized = 0.0;  // normalized_score(): 0 D4RL's random policy, 1 its controller
  int64_t first_reach = -1; // first step (from 1) that ended within the goal's radius; 0: started there; -1: never
  Tensor states;            // [steps + 1, 4] float64
};

// One replanning of the first world: what pictures and videos of the closed loop show.
struct PlanRecord {
  int64_t episode = 0, step = 0;
  Trajectory plan;  // [1, F, ...]
};

struct EpisodeReport {
  std::string task, policy;
  Protocol protocol = Protocol::full;
  bool multi = false;
  int64_t steps = 0;
  std::vector<Episode> episodes;
  std::vector<PlanRecord> plans;         // of the first `recorded` worlds
  std::vector<double> planning_seconds;  // of each replanning of a whole batch
  int64_t planned_worlds = 0;            // worlds of such a batch
};

struct Estimate {
  double mean = 0.0, error = 0.0;  // standard error: deviation (n - 1) over sqrt(n); 0 for a single number
};
Estimate estimate(const std::vector<double>& values);
Estimate raw_score(const EpisodeReport& report);
Estimate normalized_score(const EpisodeReport& report);
// Over the episodes that reached the goal; `share`: how many did.
struct FirstReach {
  Estimate steps;
  double share = 0.0;
};
FirstReach first_reach(const EpisodeReport& report);

// Asked after every decision: whether to go on; fraction of all steps done.
using EpisodeProgress = std::function<bool(double fraction)>;

// Throws df::Error where the policy's actions are misshapen or not finite, naming policy and world. Plans are kept of the first `recorded`
// worlds. Where `progress` says no, throws df::Error("stopped ...").
EpisodeReport run_episodes(const Maze2dTask& task, Policy& policy, const EpisodeConfig& config, int64_t recorded = 4,
                           const EpisodeProgress& progress = {});

// A column a policy: raw, normalised (x 100), first reach, each with its standard error, planning seconds, protocol.
std::string episode_table(const std::vector<EpisodeReport>& reports);
// policy,episode,seed,start_x,start_y,goal_x,goal_y,raw,normalized,first_reach
std::string episode_csv(const std::vector<EpisodeReport>& reports);
std::string episode_json(const std::vector<EpisodeReport>& reports);

}  // namespace df
