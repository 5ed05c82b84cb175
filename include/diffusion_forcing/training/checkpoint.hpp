// SPDX-License-Identifier: MIT
// Weights as safetensors, loaded strictly; training state in folders that are whole or absent.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "diffusion_forcing/core/tensor.hpp"

namespace torch::nn {
class Module;
}

namespace df {

using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

// Parameters and buffers by name.
NamedTensors named_tensors(const torch::nn::Module& module);

// Writes tensors as safetensors, whole or not at all.
void save_weights(const std::filesystem::path& path, const NamedTensors& weights, const std::map<std::string, std::string>& metadata);

// Copies into `weights` in place (dtype and device of the destination). Throws df::Error naming the file and listing every missing,
// unexpected and mis-shaped key; nothing is copied then. Returns the file's metadata.
std::map<std::string, std::string> load_weights(const std::filesystem::path& path, const NamedTensors& weights);

// <run>/checkpoints/step_<n>/{model.safetensors, ema.safetensors, trainer.safetensors, manifest.json (CRC-32 and size of each file)}
struct Checkpoint {
  int64_t step = 0;                             // optimiser steps done
  NamedTensors model, ema;                      // ema may be empty
  std::map<std::string, Tensor> trainer;        // optimiser moments, ...
  std::map<std::string, std::string> metadata;  // seed, git commit, ...
};
// Written under a temporary name, flushed and renamed, so that a process killed at any moment leaves whole checkpoints only. Replaces a
// checkpoint of the same step. Returns the folder.
std::filesystem::path save_checkpoint(const std::filesystem::path& run, const Checkpoint& checkpoint);
// Verifies size and CRC-32 of every file, then fills `into`: step, trainer and metadata anew, model and ema in place (an empty ema is not
// read). Throws df::Error naming the file that is missing, damaged or of another version.
void load_checkpoint(const std::filesystem::path& folder, Checkpoint& into);
// What the manifest says, read without the tensors: a loader must start at batch `step` before a Trainer can load the rest.
struct CheckpointInfo {
  int64_t step = 0;
  std::map<std::string, std::string> metadata;
};
// Reads the manifest alone. Throws df::Error naming what is missing or damaged.
CheckpointInfo inspect_checkpoint(const std::filesystem::path& folder);
// Newest complete checkpoint of a run, by step.
std::optional<std::filesystem::path> latest_checkpoint(const std::filesystem::path& run);
// Removes all but the newest `keep` (0: keeps all).
void prune_checkpoints(const std::filesystem::path& run, int64_t keep);

}  // namespace df
