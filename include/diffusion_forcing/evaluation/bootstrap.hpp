// SPDX-License-Identifier: MIT
// 95 % intervals by resampling whole sequences (Efron 1979). Sequences are dealt to a fixed number of groups, so that memory does not grow
// with their number; up to that number a group is a sequence.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace df {

constexpr int64_t bootstrap_groups = 16;
// The group that a sequence is dealt to.
inline int64_t bootstrap_group(int64_t sequence) { return sequence % bootstrap_groups; }

// low and high are NaN where there are fewer than 2 groups to resample.
struct Interval {
  double value = 0.0, low = 0.0, high = 0.0;
};

// How often each group is in each resample. A pure function of the seed.
class Resamples {
 public:
  using Counts = std::vector<double>;
  Resamples(int64_t groups, int64_t replicates, uint64_t seed);
  // The value with every group once, and the range that holds the middle 95 % of the resampled values after their mean is moved to the
  // value: resampling repeats sequences, which biases distances of distributions upwards.
  Interval interval(const std::function<double(const Counts& counts)>& statistic) const;
  // Several values of the same sums at once.
  std::vector<Interval> intervals(const std::function<std::vector<double>(const Counts& counts)>& statistics) const;

 private:
  std::vector<Counts> counts_;
  int64_t groups_;
};

}  // namespace df
