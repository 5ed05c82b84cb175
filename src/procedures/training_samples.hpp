// SPDX-License-Identifier: MIT
// What a run shows of itself, with the averaged weights in place.
#pragma once

#include <cstdint>
#include <filesystem>

#include "diffusion_forcing/procedures/parts.hpp"

namespace df {

class MetricLog;

// <run>/samples/step_<n>.mp4
std::filesystem::path samples_of(const std::filesystem::path& run, int64_t step);

// Rolls out a few sequences by parts.sampling, twice as long as in training (as long, where the data must say the conditions), into
// samples_of() and the log. Does nothing where tokens are not RGB pictures.
void write_samples(const Parts& parts, const std::filesystem::path& run, int64_t step, MetricLog& log);

}  // namespace df
