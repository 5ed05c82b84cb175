// SPDX-License-Identifier: MIT
// A run folder: config.yaml (the complete experiment), run.json (versions, what the data were like), checkpoints, metrics, samples.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "diffusion_forcing/config/experiment.hpp"

namespace df {

// Keys whose values differ, as "model.width: 32 there, 64 here". Keys that change neither weights nor data of the steps to come
// (length of the training, logging, checkpoints, sampling) do not count.
std::vector<std::string> differences(const ExperimentConfig& there, const ExperimentConfig& here);

// Throws df::Error where training cannot start there: a folder that holds something while `resume` is false, or that holds no run, or
// the run of another config while it is true. Returns the checkpoint to go on from.
std::optional<std::filesystem::path> check_run_folder(const std::filesystem::path& run, const ExperimentConfig& config, bool resume);

// Writes config.yaml and run.json, making the folder.
void write_run_folder(const std::filesystem::path& run, const ExperimentConfig& config, const DataSpec& spec, const std::string& device);

// What run.json says about the data, if it is there.
std::optional<DataSpec> read_data_spec(const std::filesystem::path& run);

}  // namespace df
