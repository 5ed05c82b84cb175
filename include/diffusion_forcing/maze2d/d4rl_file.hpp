// SPDX-License-Identifier: MIT
// Offline data in D4RL's HDF5 form: what an agent saw and did, one row a step.
#pragma once

#include <cstdint>
#include <filesystem>

#include "diffusion_forcing/core/tensor.hpp"

namespace df {

// Undefined tensors are absent. Row t: the action at t was chosen on the observation at t.
struct OfflineData {
  Tensor observations;  // [N, D] float32
  Tensor actions;       // [N, A] float32
  Tensor rewards;       // [N] float32
  Tensor terminals;     // [N] bool: the world ended
  Tensor timeouts;      // [N] bool: it did not, but the episode or the way to a goal did
  Tensor goals;         // infos/goal [N, G] float32
  Tensor qpos, qvel;    // infos/qpos, infos/qvel [N, ...] float32: the simulator's state

  int64_t rows() const { return observations.defined() ? observations.size(0) : 0; }
};

// What a reader of D4RL's files found.
struct D4rlReading {
  int64_t observation = -1, action = -1;  // D and A that must be there; -1: any
  bool infos = true;                      // read infos/goal, infos/qpos and infos/qvel where the file has them
};

// D4RL's files and our own. timeouts may be absent, flags may be booleans, integers or floats of 0 and 1. Throws df::Error naming the file,
// the data set, expected and got: not HDF5, missing, misshapen, of another type, of unequal lengths, not finite.
OfflineData read_d4rl(const std::filesystem::path& path, const D4rlReading& reading = {});

// gzip, float32 and h5py's booleans, written whole or not at all. Throws df::Error where observations, actions, rewards or terminals are
// absent or lengths differ.
void write_d4rl(const std::filesystem::path& path, const OfflineData& data);

}  // namespace df
