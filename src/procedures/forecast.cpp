// SPDX-License-Identifier: MIT
#include "procedures/forecast.hpp"

#include <fmt/format.h>

namespace df {

namespace {

// The first steps are slower than the rest: memory is not there yet, and kernels are chosen.
constexpr int64_t warming_steps = 3, measured_steps = 5;
constexpr double long_seconds = 3600.0;

}  // namespace

std::optional<std::string> warmup_warning(const TrainerConfig& config) {
  if (config.optimizer.warmup <= config.steps) return std::nullopt;
  return fmt::format(
      "training.warmup: the learning rate rises for {} steps, but the run ends after {}: it never reaches training.learning_rate {}. A "
      "tenth of the steps is usual: training.warmup={}",
      config.optimizer.warmup, config.steps, config.optimizer.learning_rate, config.steps / 10);
}

std::optional<std::string> TimeForecast::after_step(int64_t done, std::chrono::steady_clock::time_point now) {
  const int64_t measured = done - first_ - warming_steps;
  if (said_ || measured < 0) return std::nullopt;
  if (measured == 0) start_ = now;
  if (measured < measured_steps) return std::nullopt;
  said_ = true;
  const double step = std::chrono::duration<double>(now - start_).count() / static_cast<double>(measured);
  const double left = step * static_cast<double>(steps_ - done);
  if (left < long_seconds) return std::nullopt;
  return fmt::format(
      "a step takes {:.2f} s on this machine ({}), so that the {} steps left will take about {:.1f} hours. Ctrl-C stops and saves. "
      "df-train --dry-run tells the cost of an experiment in two steps; fewer training.steps, smaller frames (data.height, data.width), a "
      "smaller model.width or video_quick.yaml take less time, and so does a GPU",
      step, device_, steps_ - done, left / 3600.0);
}

}  // namespace df
