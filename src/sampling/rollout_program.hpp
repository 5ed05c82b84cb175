// SPDX-License-Identifier: MIT
// The schedule that a RolloutConfig asks for.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "diffusion_forcing/sampling/rollout_config.hpp"
#include "sampling/schedule_walk.hpp"

namespace df {

struct RolloutProgram {
  ScheduleWalk walk;
  std::vector<int32_t> ladder;  // levels that it visits
  SchedulingMatrix chunk;       // that is repeated; of no tokens where the rows are a pyramid's

  // Model evaluations a token, about: for progress.
  double cells_a_token(const PlanPolicy& policy) const;
};

// tokens: of the whole sequence, where that is known.
RolloutProgram make_program(const RolloutConfig& config, int64_t levels, std::optional<int64_t> tokens = std::nullopt);

}  // namespace df
