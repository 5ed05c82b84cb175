// SPDX-License-Identifier: MIT
#include "drawing/ticks.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "diffusion_forcing/drawing/plot.hpp"

namespace df::drawing {

void Range::cover(double value) {
  if (!std::isfinite(value)) return;
  low = std::min(low, value);
  high = std::max(high, value);
}

std::vector<double> round_ticks(double low, double high, int most) {
  if (!std::isfinite(low) || !std::isfinite(high) || high < low || most < 1) return {};
  if (high == low) return {low};
  const double power = std::pow(10.0, std::floor(std::log10((high - low) / most)));
  for (const double factor : {1.0, 2.0, 5.0, 10.0, 20.0}) {
    const double step = factor * power, first = std::ceil(low / step - 1e-9), last = std::floor(high / step + 1e-9);
    if (last - first + 1.0 > most) continue;
    std::vector<double> ticks;
    for (double i = first; i <= last; i += 1.0) ticks.push_back(i == 0.0 ? 0.0 : i * step);
    return ticks;
  }
  return {};
}

double Scale::share(double value) const {
  if (logarithmic_) return value > 0.0 ? std::log(value / range_.low) / std::log(range_.high / range_.low) : std::nan("");
  return (value - range_.low) / (range_.high - range_.low);
}

std::vector<double> Scale::ticks(int most) const {
  if (!logarithmic_) return round_ticks(range_.low, range_.high, most);
  // 1, 2, 5 of each power of ten, or 1 alone, or every second, third, ... power. A narrow range has linear ticks.
  const double first = std::floor(std::log10(range_.low)), last = std::ceil(std::log10(range_.high));
  for (const bool all : {true, false})
    for (double every = 1.0; every < (all ? 2.0 : 32.0); every += 1.0) {
      std::vector<double> ticks;
      for (double power = first; power <= last; power += every)
        for (const double factor : {1.0, 2.0, 5.0})
          if (const double tick = factor * std::pow(10.0, power);
              (all || factor == 1.0) && tick >= range_.low * (1.0 - 1e-9) && tick <= range_.high * (1.0 + 1e-9))
            ticks.push_back(tick);
      if (static_cast<int>(ticks.size()) <= most) return ticks.size() < 2 ? round_ticks(range_.low, range_.high, most) : ticks;
    }
  return {};
}

std::string tick_words(double value, double largest) {
  if (value == 0.0) return "0";
  const double size = std::max(std::abs(value), std::abs(largest));
  for (const auto& [unit, suffix] : {std::pair{1e9, "G"}, std::pair{1e6, "M"}, std::pair{1e4, "k"}})
    if (size >= unit) return fmt::format("{:.6g}{}", value / (unit == 1e4 ? 1e3 : unit), suffix);
  if (size < 1e-3) {
    const double power = std::floor(std::log10(std::abs(value)) + 1e-9);
    return fmt::format("{:.3g}e{:.0f}", value / std::pow(10.0, power), power);
  }
  return fmt::format("{:.6g}", value);
}

std::string value_words(double value) { return std::isfinite(value) ? fmt::format("{:.4g}", value) : "unknown"; }

}  // namespace df::drawing
