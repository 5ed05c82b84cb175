// SPDX-License-Identifier: MIT
// What a user should hear before hours have gone: settings that defeat themselves, and a training that will take long.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "diffusion_forcing/config/training_config.hpp"

namespace df {

// A warm-up that the run does not outlast; nothing where all is well.
std::optional<std::string> warmup_warning(const TrainerConfig& config);

// Measures the first steps of a run and says once, if at all, that the rest will take longer than an hour.
class TimeForecast {
 public:
  TimeForecast(int64_t first_step, int64_t steps, std::string device) : first_(first_step), steps_(steps), device_(std::move(device)) {}
  // To be called after each step, with the number of steps done and the time now.
  std::optional<std::string> after_step(int64_t done, std::chrono::steady_clock::time_point now = std::chrono::steady_clock::now());

 private:
  int64_t first_, steps_;
  std::string device_;
  std::chrono::steady_clock::time_point start_{};
  bool said_ = false;
};

}  // namespace df
