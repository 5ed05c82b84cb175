// SPDX-License-Identifier: MIT
// A report's curves as plots.
#include <fmt/format.h>

#include <algorithm>

#include "drawing/markup.hpp"
#include "evaluation/curve_plots.hpp"
#include "evaluation/metric_words.hpp"

namespace df {

namespace {

constexpr int64_t columns = 3;
constexpr double png_scale = 1.5;

drawing::Series series_of(const RunReport& run, const Curve& curve, bool levels) {
  drawing::Series series;
  series.name = run.name;
  series.reference = run.name == reference_run;
  for (const CurvePoint& point : curve.points) {
    series.x.push_back(0.5 * static_cast<double>(point.first + point.last));
    series.y.push_back(point.value.value);
    series.low.push_back(point.value.low);
    series.high.push_back(point.value.high);
    series.at.push_back(levels                      ? fmt::format("noise level {}", point.first)
                        : point.first == point.last ? fmt::format("frame {}", point.first)
                                                    : fmt::format("frames {} to {}", point.first, point.last));
  }
  return series;
}

}  // namespace

std::vector<std::pair<std::string, std::vector<drawing::Plot>>> curve_plots(const std::vector<RunReport>& runs) {
  std::vector<std::string> names;
  for (const auto& run : runs)
    for (const auto& curve : run.curves)
      if (!curve.points.empty() && std::find(names.begin(), names.end(), curve.name) == names.end()) names.push_back(curve.name);
  sort_for_reading(names);
  std::vector<std::pair<std::string, std::vector<drawing::Plot>>> groups;
  for (const auto& name : names) {
    const MetricWords words = metric_words(name);
    const bool levels = name.ends_with("_by_level");
    drawing::Plot plot;
    plot.title = words.title;
    plot.link = "#" + drawing::identifier(words.name);
    plot.x.title = levels ? "noise level k" : "frame after the context";
    plot.y = {"", words.unit, words.better, false};
    for (const auto& run : runs)
      for (const auto& curve : run.curves)
        if (curve.name == name) plot.series.push_back(series_of(run, curve, levels));
    auto group = std::find_if(groups.begin(), groups.end(), [&](const auto& g) { return g.first == words.question; });
    if (group == groups.end()) group = groups.insert(groups.end(), {words.question, {}});
    group->second.push_back(std::move(plot));
  }
  return groups;
}

Tensor report_plot(const std::vector<RunReport>& runs) {
  std::vector<drawing::Scene> scenes;
  for (const auto& [question, plots] : curve_plots(runs))
    for (const auto& plot : plots) scenes.push_back(drawing::draw(plot));
  return drawing::paint(drawing::arrange(scenes, columns), png_scale);
}

}  // namespace df
