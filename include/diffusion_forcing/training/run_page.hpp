// SPDX-License-Identifier: MIT
// What a run folder shows of its training.
#pragma once

#include <filesystem>

namespace df {

// Writes <run>/index.html from metrics.jsonl, run.json and samples/, whatever of them is there: losses, learning rate, speed, validation,
// the last sampled videos. Lines of metrics.jsonl that cannot be read are left out.
void write_training_page(const std::filesystem::path& run);

}  // namespace df
