// SPDX-License-Identifier: MIT
// What the numbers and curves of a report are called where people read them.
#pragma once

#include <string>
#include <vector>

#include "diffusion_forcing/drawing/plot.hpp"

namespace df {

struct MetricWords {
  std::string name;         // in report.json, without the frames: "mse"
  std::string title, unit;  // "Error of the pixels"; letters of PNG files, so ASCII
  drawing::Better better = drawing::Better::none;
  std::string question;  // the heading it stands under
  std::string explanation;
};

// Of a curve ("mse") or a number of a table ("mse 1-50"). Unknown names are their own title.
MetricWords metric_words(const std::string& name);
// The frames of a number of a table, "1-50" of "mse 1-50"; empty where it has none.
std::string frames_of_number(const std::string& name);
// Names of curves or numbers in the order in which they are explained; unknown ones last, in their order.
void sort_for_reading(std::vector<std::string>& names);

}  // namespace df
