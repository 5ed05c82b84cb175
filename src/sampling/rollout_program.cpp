// SPDX-License-Identifier: MIT
#include "sampling/rollout_program.hpp"

#include <algorithm>

namespace df {

double RolloutProgram::cells_a_token(const PlanPolicy& policy) const {
  if (chunk.tokens == 0) return static_cast<double>(ladder.size() - 1) + (policy.finished == Finished::reencode);
  return static_cast<double>(compile(chunk, policy).cells()) / static_cast<double>(chunk.tokens);
}

RolloutProgram make_program(const RolloutConfig& config, int64_t levels, std::optional<int64_t> tokens) {
  RolloutProgram program;
  if (const auto kind = parse_schedule(config.schedule)) {
    program.ladder = ladder(levels, config.steps);
    const double slope = *kind == MatrixKind::autoregressive ? static_cast<double>(config.steps) : config.slope;
    if (*kind == MatrixKind::autoregressive || (*kind == MatrixKind::pyramid && slope > 0)) {
      program.walk = ScheduleWalk::pyramid(program.ladder, slope);
      return program;
    }
    program.chunk = make_matrix(*kind, tokens ? std::min(config.horizon, *tokens) : config.horizon, program.ladder, config.slope);
  } else {
    program.chunk = read_matrix(config.schedule);
    validate(program.chunk, levels, config.schedule);
    program.ladder = ladder_of(program.chunk);
  }
  program.walk = ScheduleWalk::chunks(program.chunk);
  return program;
}

}  // namespace df
