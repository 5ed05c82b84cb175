// SPDX-License-Identifier: MIT
// Episodes of a maze2d task played by a policy, and their scores.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "diffusion_forcing/core/enum_names.hpp"
#include "diffusion_forcing/maze2d/maze2d.hpp"
#include "diffusion_forcing/maze2d/maze2d_task.hpp"
#include "diffusion_forcing/planning/policy.hpp"

namespace df {

enum class Protocol {
  full,   // the task's own number of steps: 300, 600, 800 on umaze, medium, large
  paper,  // Chen et al. 2024: at most 600 steps, so large is scored over 600 of its 800
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
  int64_t threads = 1;  // that step them; 0 or 1: the caller's own
  uint64_t seed = 0;    // episode i starts as gym's environment seeded with seed + i
  Maze2dPhysics physics = Maze2dPhysics::exact;
};
// Throws df::Error naming the field.
void validate(const EpisodeConfig& config);

struct Episode {
  uint64_t seed = 0;  // of gym's environment
  Maze2dState start{};
  Point2 goal{};
  double raw = 0.0;          // sum of the rewards of the states after each step
  double normalized = 0.0;   // normalized_score(): 0 D4RL's random policy, 1 its controller
  int64_t first_reach = -1;  // first step (from 1) that ended within the goal's radius; 0: started there; -1: never
  Tensor states;             // [steps + 1, 4] float64, the start first
};

// A plan and when it was made: what pictures and videos of the closed loop show.
struct PlanRecord {
  int64_t episode = 0, step = 0;
  Trajectory plan;  // [1, F, ...] on the CPU
};

// One call of the policy in which it planned, for a whole batch.
struct Replanning {
  double seconds = 0.0;
  int64_t worlds = 0;
};

struct EpisodeReport {
  std::string policy;       // heads its column; describe() unless the caller has a shorter name
  std::string description;  // the policy's describe()
  std::string task;
  Protocol protocol = Protocol::full;
  bool multi = false;
  int64_t steps = 0;  // of an episode
  std::vector<Episode> episodes;
  std::vector<PlanRecord> plans;  // of the first `recorded` episodes, in order of step and episode within a batch
  std::vector<Replanning> replannings;
};

struct Estimate {
  double mean = 0.0, error = 0.0;  // standard error: deviation (n - 1) over sqrt(n), 0 for a single number; both NaN for none
};
Estimate estimate(const std::vector<double>& values);
Estimate raw_score(const EpisodeReport& report);
Estimate normalized_score(const EpisodeReport& report);
struct FirstReach {
  Estimate steps;      // of the episodes that reached the goal
  double share = 0.0;  // of episodes that did
};
FirstReach first_reach(const EpisodeReport& report);
// Mean over the replannings of the largest batch; NaN where the policy does not plan.
Replanning mean_replanning(const EpisodeReport& report);

// Asked after every decision, with the fraction of all steps done: whether to go on.
using EpisodeProgress = std::function<bool(double fraction)>;

// Plays episodes, config.batch worlds at a time. The policy's actions are executed one after the other before it is asked again, those
// beyond the episode's end not at all. What happens in an episode follows from its number and the seed, whatever the batch and the
// threads, where the policy keeps to the same. Throws df::Error where actions are misshapen or not finite, naming policy and world, and
// where `progress` says no.
EpisodeReport run_episodes(const Maze2dTask& task, Policy& policy, const EpisodeConfig& config, int64_t recorded = 8,
                           const EpisodeProgress& progress = {});

// A column a policy: raw and normalised score (x 100), first reach, each with its standard error, who reached the goal, seconds a plan.
std::string episode_table(const std::vector<EpisodeReport>& reports);
// policy,episode,seed,start_x,start_y,goal_x,goal_y,raw,normalized,first_reach; the last is -1 where the goal was never reached.
std::string episode_csv(const std::vector<EpisodeReport>& reports);
// The same and all else but states and plans; unknown values are null.
std::string episode_json(const std::vector<EpisodeReport>& reports);

}  // namespace df
