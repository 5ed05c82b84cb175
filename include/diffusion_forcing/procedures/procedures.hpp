// SPDX-License-Identifier: MIT
// Whole procedures on an experiment: what the programs call.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "diffusion_forcing/config/experiment.hpp"

namespace df {

class CausalModel;
class TravelMap;

struct TrainOptions {
  std::filesystem::path out;   // run folder; empty: runs/<name>
  bool resume = false;         // go on from the newest checkpoint of `out`
  std::filesystem::path init;  // weights alone to start from; empty: none
  std::string device = "auto";
  std::function<bool()> stop;  // asked after each step
};
// Trains, logs, saves; returns the run folder. Throws df::Error where the folder holds another run and resume was not asked for.
std::filesystem::path train(const ExperimentConfig& config, const TrainOptions& options);

// What an experiment would cost: everything is built and two steps are run, nothing is written.
struct DryRun {
  std::string data;  // one line about the data set
  DataSpec spec;
  int64_t parameters = 0;
  std::string device;         // description
  double step_seconds = 0.0;  // of the second step
  int64_t memory_bytes = 0;   // peak so far; 0 where unknown
  int64_t frames_per_step = 0;
  double loss = 0.0;  // of the first step
};
DryRun dry_run(const ExperimentConfig& config, const std::string& device);

// A trained model with all it needs.
struct TrainedModel {
  ExperimentConfig config;
  DataSpec spec;
  Diffusion diffusion;
  std::shared_ptr<CausalModel> model;            // on `device`, in evaluation mode
  std::filesystem::path weights;                 // file read
  std::shared_ptr<const TravelMap> travel = {};  // kept by who makes several planners: load_travel_map()
};
// checkpoint: a run folder (its newest checkpoint), a step folder or a .safetensors file. The config is `config`, or else config.yaml in
// one of the parent folders, with `overrides` as load_experiment() takes them. Averaged weights where there are any, unless `raw`. The data
// itself is not needed where the run folder says what it was like.
TrainedModel load_trained(const std::filesystem::path& checkpoint, const std::filesystem::path& config, const std::string& device,
                          bool raw = false, const std::vector<std::string>& overrides = {});

// The ways of the experiment's data, read or generated, where its `planning` measures along them; null elsewhere.
std::shared_ptr<const TravelMap> load_travel_map(const TrainedModel& trained);

// The policy of a trained model, as its experiment's `planning` says, or the data's usual one where that is absent. `trained` must outlive
// it. Loads the map of ways that it needs, unless `trained` has one. Throws ConfigError for models that do not plan.
std::unique_ptr<Policy> make_planner(const TrainedModel& trained, PlanObserver observer = {});

}  // namespace df
