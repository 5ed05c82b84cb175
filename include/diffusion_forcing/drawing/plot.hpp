// SPDX-License-Identifier: MIT
// Lines over an axis, with bands for their uncertainty.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "diffusion_forcing/drawing/scene.hpp"

namespace df::drawing {

// Which values are good. `one`: those near 1, where a ratio to the truth is measured.
enum class Better { none, lower, higher, one };
std::string better_words(Better better);  // "lower is better"; empty for none

// How an axis is named and scaled.
struct Axis {
  std::string title;  // in words; of the y axis it is left out where the plot's title says it
  std::string unit;   // "dB"; empty: none
  Better better = Better::none;
  bool logarithmic = false;  // linear all the same where a value is not above 0
};

// Values that are not finite leave a gap. low and high are empty where no interval is known, else as long as y.
struct Series {
  std::string name;
  std::vector<double> x, y, low, high;
  std::vector<std::string> at;  // what each x is called on hover, "frames 1 to 50"; empty: the x axis's title and the number
  bool reference = false;       // a dashed line without a colour of its own: what the others are compared with
};

// A chart of lines with bands.
struct Plot {
  std::string title;  // in words
  std::string link;   // what the title leads to, "#mse"; empty: nothing
  Axis x, y;
  std::vector<Series> series;
  double width = 400.0, height = 180.0;  // the width of all, the height of the axes
};

// Titles, an arrow to the better side, a legend where there is more than one series, axes with round ticks, bands cut at the axes, lines.
// Throws df::Error where the vectors of a series differ in length.
Scene draw(const Plot& plot);

// Multiples of 1, 2 or 5 times a power of ten within [low, high], at most `most` of them. Nothing where the range is empty or not finite.
std::vector<double> round_ticks(double low, double high, int most);

}  // namespace df::drawing
