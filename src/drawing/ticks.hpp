// SPDX-License-Identifier: MIT
// Ranges of values, and the round numbers beside an axis.
#pragma once

#include <cmath>
#include <limits>
#include <string>
#include <vector>

namespace df::drawing {

struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -std::numeric_limits<double>::infinity();
  void cover(double value);  // ignores what is not finite
  bool empty() const { return !(low <= high); }
};

// Where values lie between the ends of an axis: 0 at the low end, 1 at the high one.
class Scale {
 public:
  Scale(const Range& range, bool logarithmic) : range_(range), logarithmic_(logarithmic && range.low > 0.0) {}
  double share(double value) const;  // not finite for a value that has no place
  std::vector<double> ticks(int most) const;
  const Range& range() const { return range_; }

 private:
  Range range_;
  bool logarithmic_;
};

// "0.25", "20k", "3e-5". `largest` of the axis chooses the unit for all of its ticks.
std::string tick_words(double value, double largest);
// "0.2513": four digits, for hovers.
std::string value_words(double value);

}  // namespace df::drawing
