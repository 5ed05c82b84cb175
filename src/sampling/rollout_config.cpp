// SPDX-License-Identifier: MIT
#include "diffusion_forcing/sampling/rollout_config.hpp"

#include <fmt/format.h>

#include <filesystem>

#include "core/require.hpp"
#include "diffusion_forcing/sampling/scheduling_matrix.hpp"

namespace df {

void validate(const RolloutConfig& config, int64_t levels) {
  const Require require("sampling");
  const auto kind = parse_schedule(config.schedule);
  require(kind || std::filesystem::exists(config.schedule), "schedule", enum_choices<MatrixKind>() + " or a CSV or npy file",
          "'" + config.schedule + "'");
  if (kind) require(config.steps >= 1 && config.steps <= levels, "steps", fmt::format("1 to {} (diffusion.levels)", levels), config.steps);
  require.number_at_least("slope", config.slope, 0);
  require(config.horizon >= 1, "horizon", "at least 1 token", config.horizon);
  require(config.sampler.eta >= 0 && config.sampler.eta <= 1, "eta", "0 to 1", config.sampler.eta);
  require.number_at_least("clip_x0", config.sampler.clip_x0, 0);
  require.at_least("cpu_workers", config.sampler.cpu_workers, 0);
  require.between("stabilization", config.policy.stabilization, 0, levels);
}

std::string describe(const RolloutConfig& config, std::optional<int64_t> tokens) {
  if (parse_schedule(config.schedule)) return fmt::format("{} schedule, {} steps", config.schedule, config.steps);
  const SchedulingMatrix matrix = read_matrix(config.schedule);
  std::string line = fmt::format("schedule {}, {} rows of moves over {} tokens", config.schedule, matrix.rows - 1, matrix.tokens);
  if (!tokens || *tokens > matrix.tokens) line += fmt::format(", again for every next {}", matrix.tokens);
  if (tokens && *tokens < matrix.tokens) line += fmt::format(", of which the first {} are sampled", *tokens);
  return line;
}

}  // namespace df
