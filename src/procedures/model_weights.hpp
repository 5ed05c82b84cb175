// SPDX-License-Identifier: MIT
// Weights of a model from whatever a user names: a run, a checkpoint of it, or a file.
#pragma once

#include <filesystem>
#include <optional>

#include "diffusion_forcing/training/checkpoint.hpp"

namespace df {

// Fills `weights` in place from a run folder (its newest checkpoint), a step folder or a .safetensors file; averaged weights where there
// are any, unless `raw`. Checksums of folders are verified. Returns the file.
std::filesystem::path load_model_weights(const std::filesystem::path& checkpoint, const NamedTensors& weights, bool raw);

// The nearest parent folder that holds a config.yaml, or `checkpoint` itself; nothing if there is none.
std::optional<std::filesystem::path> enclosing_run(const std::filesystem::path& checkpoint);
// The same. Throws df::Error if there is none.
std::filesystem::path find_run(const std::filesystem::path& checkpoint);

}  // namespace df
