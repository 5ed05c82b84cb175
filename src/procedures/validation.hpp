// SPDX-License-Identifier: MIT
// What a run measures and shows of itself, with the averaged weights in place.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "procedures/session.hpp"

namespace df {

class MetricLog;

// val/loss over `validation_batches` batches with draws that are the same every time, and val/x0_error/<k over K>: the mean squared error
// of the clean prediction of the first batch with every token at level k.
std::map<std::string, double> validate_model(const Session& session, const ExperimentConfig& config);

// Rolls out a few sequences by config.sampling, twice as long as in training (as long, where the data must say the conditions), into
// <run>/samples/step_<n>.mp4 and the log. Does nothing where tokens are not RGB pictures.
void write_samples(const Session& session, const ExperimentConfig& config, const std::filesystem::path& run, int64_t step, MetricLog& log);

}  // namespace df
