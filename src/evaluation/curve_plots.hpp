// SPDX-License-Identifier: MIT
// A report's curves as plots, under the questions that they answer.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "diffusion_forcing/drawing/plot.hpp"
#include "diffusion_forcing/evaluation/report.hpp"

namespace df {

// The run that is true video in the place of a model: shown beside the others, not compared with them.
constexpr const char* reference_run = "real";

// One plot a curve name, a line a run; {question, plots} in the order of the curves.
std::vector<std::pair<std::string, std::vector<drawing::Plot>>> curve_plots(const std::vector<RunReport>& runs);

}  // namespace df
