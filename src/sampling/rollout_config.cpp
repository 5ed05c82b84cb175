// SPDX-License-Identifier: MIT
#include "diffusion_forcing/sampling/rollout_config.hpp"

#include <fmt/format.h>

#include <cmath>
#include <filesystem>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/sampling/scheduling_matrix.hpp"

namespace df {

void validate(const RolloutConfig& config, int64_t levels) {
  const auto require = [](bool valid, const char* key, const std::string& expected, auto got) {
    if (!valid) throw Error(fmt::format("sampling.{}: expected {}, got {}", key, expected, got));
  };
  const auto kind = parse_schedule(config.schedule);
  require(kind || std::filesystem::exists(config.schedule), "schedule", enum_choices<MatrixKind>() + " or a CSV or npy file",
          "'" + config.schedule + "'");
  require(!kind || (config.steps >= 1 && config.steps <= levels), "steps", fmt::format("1 to {} (diffusion.levels)", levels), config.steps);
  require(std::isfinite(config.slope) && config.slope >= 0, "slope", "a number of at least 0", config.slope);
  require(config.horizon >= 1, "horizon", "at least 1 token", config.horizon);
  require(std::isfinite(config.sampler.eta) && config.sampler.eta >= 0 && config.sampler.eta <= 1, "eta", "0 to 1", config.sampler.eta);
  require(std::isfinite(config.sampler.clip_x0) && config.sampler.clip_x0 >= 0, "clip_x0", "a number of at least 0",
          config.sampler.clip_x0);
  require(config.sampler.cpu_workers >= 0, "cpu_workers", "at least 0", config.sampler.cpu_workers);
  require(config.policy.stabilization >= 0 && config.policy.stabilization <= levels, "stabilization", fmt::format("0 to {}", levels),
          config.policy.stabilization);
}

}  // namespace df
