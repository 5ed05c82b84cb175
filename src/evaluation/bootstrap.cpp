// SPDX-License-Identifier: MIT
#include "diffusion_forcing/evaluation/bootstrap.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "diffusion_forcing/core/seed.hpp"

namespace df {

namespace {

// Linear interpolation between the sorted values.
double quantile(const std::vector<double>& sorted, double q) {
  const double place = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(place);
  const auto above = std::min(below + 1, sorted.size() - 1);
  return std::lerp(sorted[below], sorted[above], place - static_cast<double>(below));
}

Interval interval_around(double value, std::vector<double> resampled) {
  constexpr double unknown = std::numeric_limits<double>::quiet_NaN();
  if (!std::isfinite(value) || resampled.size() < 2) return {value, unknown, unknown};
  std::sort(resampled.begin(), resampled.end());
  const double mean = std::accumulate(resampled.begin(), resampled.end(), 0.0) / static_cast<double>(resampled.size());
  return {value, quantile(resampled, 0.025) + value - mean, quantile(resampled, 0.975) + value - mean};
}

}  // namespace

Resamples::Resamples(int64_t groups, int64_t replicates, uint64_t seed) : groups_(groups) {
  if (groups < 2) return;
  const uint64_t stream = derive_seed(seed, Stream::bootstrap);
  for (int64_t r = 0; r < replicates; ++r) {
    auto& counts = counts_.emplace_back(static_cast<size_t>(groups), 0.0);
    for (int64_t g = 0; g < groups; ++g)
      counts[derive_seed(stream, {static_cast<uint64_t>(r), static_cast<uint64_t>(g)}) % static_cast<uint64_t>(groups)] += 1.0;
  }
}

Interval Resamples::interval(const std::function<double(const Counts&)>& statistic) const {
  return intervals([&](const Counts& counts) { return std::vector<double>{statistic(counts)}; }).front();
}

std::vector<Interval> Resamples::intervals(const std::function<std::vector<double>(const Counts&)>& statistics) const {
  const auto values = statistics(Counts(static_cast<size_t>(groups_), 1.0));
  std::vector<std::vector<double>> resampled(values.size());
  for (const auto& counts : counts_) {
    const auto drawn = statistics(counts);
    for (size_t i = 0; i < drawn.size(); ++i)
      if (std::isfinite(drawn[i])) resampled[i].push_back(drawn[i]);
  }
  std::vector<Interval> intervals;
  for (size_t i = 0; i < values.size(); ++i) intervals.push_back(interval_around(values[i], std::move(resampled[i])));
  return intervals;
}

}  // namespace df
