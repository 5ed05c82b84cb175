// SPDX-License-Identifier: MIT
// Episodes of any environment played by a policy, and their numbers as tables and files.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "diffusion_forcing/planning/environment.hpp"
#include "diffusion_forcing/planning/policy.hpp"

namespace df {

// How many episodes are played, and how.
struct EpisodeConfig {
  int64_t episodes = 100;
  int64_t steps = 0;    // of an episode in place of the protocol's; 0: the protocol's
  int64_t batch = 100;  // worlds at once
  uint64_t seed = 0;    // world i is the one of seed + i
};
// Throws df::Error naming the field.
void validate(const EpisodeConfig& config);

// What happened in one world.
struct Episode {
  uint64_t seed = 0;            // of its world
  Tensor record;                // [steps + 1, R] float64: Environment::record(), the start first
  std::vector<double> start;    // [O] the state at the start
  std::vector<double> goal;     // [G]
  std::vector<double> outcome;  // in the order of EnvironmentSpec::outcomes; NaN: it has none
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

// All episodes of one policy: a column of a table.
struct EpisodeReport {
  std::string policy;           // heads its column; describe() unless the caller has a shorter name
  std::string description;      // the policy's describe()
  EnvironmentSpec environment;  // what was played
  int64_t steps = 0;            // of an episode
  std::vector<Episode> episodes;
  std::vector<PlanRecord> plans;  // of the first `recorded` episodes, in order of step and episode within a batch
  std::vector<Replanning> replannings;
};

// A mean over episodes and how sure it is.
struct Estimate {
  double mean = 0.0, error = 0.0;  // standard error: deviation (n - 1) over sqrt(n), 0 for a single number; both NaN for none
};
// Mean and standard error of some numbers.
Estimate estimate(const std::vector<double>& values);
// Of the number that the environment calls `key`. Throws df::Error where it knows none of that name.
double outcome(const EpisodeReport& report, const Episode& episode, std::string_view key);
Estimate outcome_estimate(const EpisodeReport& report, std::string_view key);  // of the episodes that have the number
double outcome_share(const EpisodeReport& report, std::string_view key);       // of episodes that have it
// Mean over the replannings of the largest batch; NaN where the policy does not plan.
Replanning mean_replanning(const EpisodeReport& report);

// Asked after every decision, with the fraction of all steps done: whether to go on.
using EpisodeProgress = std::function<bool(double fraction)>;

// Plays episodes, config.batch worlds at a time. The policy's actions are executed one after the other before it is asked again, those
// beyond the episode's end not at all. What happens in an episode follows from its number and the seed, whatever the batch, where
// environment and policy keep to the same. Throws df::Error where actions are misshapen or not finite, naming policy and world, and where
// `progress` says no.
EpisodeReport run_episodes(Environment& environment, Policy& policy, const EpisodeConfig& config, int64_t recorded = 8,
                           const EpisodeProgress& progress = {});

// A column a policy: the environment's settings and numbers, each with its standard error, and seconds a plan. Reports are of environments
// with the same numbers.
std::string episode_table(const std::vector<EpisodeReport>& reports);
// policy,episode,seed,start_<place>...,goal_<place>...,<numbers>. A count that a world does not have is -1, another number empty.
std::string episode_csv(const std::vector<EpisodeReport>& reports);
// The same and all else but records and plans; unknown values are null.
std::string episode_json(const std::vector<EpisodeReport>& reports);

}  // namespace df
