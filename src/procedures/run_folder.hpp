// SPDX-License-Identifier: MIT
// A run folder: config.yaml (complete), run.json (versions, what the data were like, changes made by resumes), checkpoints, metrics,
// samples.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "diffusion_forcing/config/experiment.hpp"
#include "diffusion_forcing/procedures/parts.hpp"

namespace df {

// What a run folder says about its run, so that a resume can compare.
struct RunDescription {
  std::string yaml;                               // of config.yaml; `sampling.schedule` is the bare name of a file in the folder
  std::optional<std::filesystem::path> schedule;  // the file that sampling.schedule names, wherever it is
  std::map<std::string, std::string> facts = {};  // of parts of one's own: what run.json says of their data, "data.tokens": "16"
  std::function<RunDescription(const std::filesystem::path& run)> read = {};  // that of a folder that is there already
};
RunDescription describe(const ExperimentConfig& config, const Types& types);
RunDescription describe(const Parts& parts, const TrainingConfig& training);

// A key whose value a resume changes.
struct KeyChange {
  std::string key, there, here;  // value in the run folder, and asked for now
  bool forced = false;           // it changes what the run learns or shows, and was asked for with --force
};

struct OpenedRun {
  std::filesystem::path folder;
  std::optional<std::filesystem::path> checkpoint;  // to go on from
  std::vector<KeyChange> changes;                   // that this resume makes
};
// Writes nothing. Throws df::Error where training cannot start there: a folder that holds something while it is no resume, or that holds no
// run; ConfigError where the run has another configuration than `here` in keys that a resume may not change, unless options.force.
OpenedRun open_run(const std::filesystem::path& folder, const RunDescription& here, const TrainOptions& options);

// Writes config.yaml, run.json and the schedule file, making the folder. Keys of run.json that are not ours stay.
// own: what run.json says of parts of one's own, {"data": ..., "model": ...}; empty for an experiment.
void write_run_folder(const OpenedRun& run, const RunDescription& description, const DataSpec& spec, const std::string& device,
                      int64_t first_step, const std::map<std::string, std::string>& own);

// What run.json says about the data, if it is there. Throws df::Error naming file and field.
std::optional<DataSpec> read_data_spec(const std::filesystem::path& run);

// Throws df::Error naming file and field where the run's tokens are not those of `spec`, but for the length of a sequence.
void check_same_data(const std::filesystem::path& run, const DataSpec& spec);

// What run.json says about parts that were a program's own; empty where the run is that of an experiment.
std::map<std::string, std::string> read_own_parts(const std::filesystem::path& run);

}  // namespace df
