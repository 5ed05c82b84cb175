// SPDX-License-Identifier: MIT
// Batches in a seeded order, prepared ahead by worker threads. Batch n is a pure function of (data set, seed, n): the same whatever
// the number of workers, and resuming is a matter of starting at n. The ranks of a team (core/team.hpp) get neighbouring rows of it.
#pragma once

#include <cstdint>
#include <memory>

#include "diffusion_forcing/data/dataset.hpp"

namespace df {

// How batches are made.
struct LoaderConfig {
  int64_t batch = 32;           // sequences, of all ranks together
  int64_t workers = 1;          // threads; 0: batches are made by the caller
  int64_t prefetch = 4;         // batches made ahead
  bool pin_memory = false;      // batches in page-locked memory, which a CUDA device copies from without the caller waiting; needs one
  int64_t rank = 0, ranks = 1;  // next() returns the rows share_of(batch, rank, ranks) of each batch; no others are read
};

// Position n of an endless order that visits each of `size` indices once per epoch, shuffled anew in each; no table is kept.
int64_t shuffled_index(int64_t size, uint64_t seed, int64_t n);

// Gives batch after batch, and prepares the next ones meanwhile.
class Loader {
 public:
  Loader(std::shared_ptr<const Dataset> dataset, const LoaderConfig& config, uint64_t seed, int64_t first_batch = 0);
  ~Loader();
  // The next batch, on the CPU. Rethrows what a worker met.
  Batch next();
  int64_t position() const;  // number of the batch that next() returns
  const LoaderConfig& config() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace df
