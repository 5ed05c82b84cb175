// SPDX-License-Identifier: MIT
// The gradients and the loss of a whole batch from those of each rank's rows.
#pragma once

#include <memory>
#include <vector>

#include "diffusion_forcing/core/team.hpp"
#include "diffusion_forcing/training/checkpoint.hpp"

namespace df {

class TeamSum {
 public:
  // The gradients will be those of `parameters`, in order.
  TeamSum(std::shared_ptr<const Team> team, NamedTensors parameters);
  // Replaces each gradient (undefined: none) and the loss by its sum over the team. A gradient that only other ranks have counts as zeros
  // here; one that no rank has stays undefined. Which those are is agreed on in the first call: a gradient that comes later is a df::Error.
  // A device may record every call but the first.
  void operator()(std::vector<Tensor>& gradients, Tensor& loss);

 private:
  void agree(const std::vector<Tensor>& gradients);

  std::shared_ptr<const Team> team_;
  NamedTensors parameters_;
  std::vector<bool> summed_;  // of each parameter: whether any rank has a gradient; empty before the first call
};

}  // namespace df
