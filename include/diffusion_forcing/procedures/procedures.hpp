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
#include "diffusion_forcing/procedures/parts.hpp"

namespace df {

class CausalModel;
class PlanningDomain;

// The parts that an experiment names: data opened (validation data where they are used), weights drawn from its seed. Throws ConfigError
// for what cannot be built, and for a `planning` that does not fit the data.
Parts make_parts(const ExperimentConfig& config);

// Trains the experiment; see train(Parts&, ...). config.yaml is the whole experiment. types: those that it was read with.
std::filesystem::path train(const ExperimentConfig& config, const TrainOptions& options, const Types& types = builtin_types());

// Runs two steps. Throws as train() does.
DryRun dry_run(const ExperimentConfig& config, const std::string& device);

// A trained model with all it needs.
struct TrainedModel {
  ExperimentConfig config;
  DataSpec spec;
  Diffusion diffusion;
  std::shared_ptr<CausalModel> model;                 // on `device`, in evaluation mode
  std::filesystem::path weights;                      // file read
  std::shared_ptr<const PlanningDomain> domain = {};  // of its data; kept by who makes several planners: planning_domain()
};
// checkpoint: a run folder (its newest checkpoint), a step folder or a .safetensors file. The config is `config`, or else config.yaml in
// one of the parent folders, with `overrides` and `types` as load_experiment() takes them. Averaged weights where there are any, unless
// `raw`. The data itself is not needed where the run folder says what it was like.
TrainedModel load_trained(const std::filesystem::path& checkpoint, const std::filesystem::path& config, const std::string& device,
                          bool raw = false, const std::vector<std::string>& overrides = {}, const Types& types = builtin_types());

// What planners may know of the experiment's data. Throws ConfigError for models of data that plans are not made from.
std::shared_ptr<const PlanningDomain> planning_domain(const TrainedModel& trained);

// The policy of a trained model, as its experiment's `planning` says, or the data's usual one where that is absent. `trained` must outlive
// it. Throws ConfigError for models that do not plan.
std::unique_ptr<Policy> make_planner(const TrainedModel& trained, PlanObserver observer = {});

}  // namespace df
