// SPDX-License-Identifier: MIT
// A batched model call on the CPU, its rows shared among threads: small operators gain more from half a batch than from half an operator.
#pragma once

#include "core/worker_pool.hpp"
#include "diffusion_forcing/models/causal_model.hpp"

namespace df {

class RowWorkers {
 public:
  explicit RowWorkers(int64_t workers) : pool_(workers) {}

  // model.step, each worker on neighbouring rows; a single row runs here. Without gradients.
  TokenOutput step(CausalModel& model, const Tensor& x, const Tensor& k, const Tensor& c, const Tensor& z);

 private:
  WorkerPool pool_;
};

}  // namespace df
