// SPDX-License-Identifier: MIT
// Loss and gradients of a whole batch, computed in parts that are summed: the rows of each rank, those again in accumulation parts one
// after the other, and each of these by workers at the same time.
#pragma once

#include <ATen/core/Generator.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "core/worker_pool.hpp"
#include "diffusion_forcing/core/team.hpp"
#include "diffusion_forcing/training/trainer.hpp"
#include "training/team_sum.hpp"

namespace df {

class BatchGradient {
 public:
  // Of `trained`, which lie on `device`. A batch has `team_rows` sequences on all ranks together.
  BatchGradient(const TrainerConfig& config, const NamedTensors& trained, Objective objective, at::Device device,
                std::shared_ptr<const Team> team, int64_t team_rows);

  struct Result {
    Tensor loss;                    // mean over the whole batch, a scalar on the device
    std::vector<Tensor> gradients;  // of each of `trained`, undefined where the loss does not depend on it
  };
  // batch: this rank's rows. Does not wait for the device.
  Result operator()(const Batch& batch, const at::Generator& generator);

 private:
  std::vector<Tensor> draw(const Batch& batch, const at::Generator& generator) const;
  Tensor add_part(const Batch& batch, const std::vector<Tensor>& draws, const Share& part, std::vector<Tensor>& gradients) const;
  Result rows_of_rank(const Batch& batch, const std::vector<Tensor>& draws) const;

  TrainerConfig config_;
  std::vector<Tensor> parameters_;
  Objective objective_;
  at::Device device_;
  std::shared_ptr<const Team> team_;
  int64_t team_rows_;
  TeamSum sum_;
  std::unique_ptr<WorkerPool> workers_;  // null: one part at a time, on the thread that calls
};

}  // namespace df
