// SPDX-License-Identifier: MIT
#include "diffusion_forcing/evaluation/report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/text_table.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/media/media.hpp"

namespace df {

namespace {

std::string cell(const Interval& v) {
  if (!std::isfinite(v.value)) return "-";
  if (!std::isfinite(v.low)) return fmt::format("{:.4g}", v.value);
  return fmt::format("{:.4g} [{:.4g}, {:.4g}]", v.value, v.low, v.high);
}

std::string number(double value) { return std::isfinite(value) ? fmt::format("{:.9g}", value) : ""; }

nlohmann::ordered_json json_of(const Interval& v) { return {{"value", v.value}, {"low", v.low}, {"high", v.high}}; }

Interval interval_of(const nlohmann::ordered_json& json) {
  const auto known = [&](const char* key) {
    const auto& value = json.at(key);
    return value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
  };
  return {known("value"), known("low"), known("high")};
}

RunReport run_of(const nlohmann::ordered_json& json) {
  RunReport run;
  run.name = json.at("name").get<std::string>();
  run.sequences = json.at("sequences").get<int64_t>();
  run.frames = json.at("frames").get<int64_t>();
  run.facts = json.at("facts").get<std::map<std::string, std::string>>();
  for (const auto& [name, value] : json.at("numbers").items()) run.numbers.emplace_back(name, interval_of(value));
  for (const auto& [name, points] : json.at("curves").items()) {
    Curve& curve = run.curves.emplace_back();
    curve.name = name;
    for (const auto& point : points)
      curve.points.push_back({point.at("first").get<int64_t>(), point.at("last").get<int64_t>(), interval_of(point)});
  }
  return run;
}

}  // namespace

std::string report_table(const std::vector<RunReport>& runs) {
  std::vector<std::string> names;
  for (const auto& run : runs)
    for (const auto& [name, value] : run.numbers)
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  std::vector<std::vector<std::string>> columns(1 + runs.size());
  columns[0] = {"", "sequences", "frames"};
  columns[0].insert(columns[0].end(), names.begin(), names.end());
  for (size_t r = 0; r < runs.size(); ++r) {
    columns[r + 1] = {runs[r].name, std::to_string(runs[r].sequences), std::to_string(runs[r].frames)};
    for (const auto& name : names) {
      const auto found = std::find_if(runs[r].numbers.begin(), runs[r].numbers.end(), [&](const auto& n) { return n.first == name; });
      columns[r + 1].push_back(found == runs[r].numbers.end() ? "-" : cell(found->second));
    }
  }
  return text_table(columns);
}

std::string report_csv(const std::vector<RunReport>& runs) {
  std::string csv = "run,curve,first,last,value,low,high,sequences\n";
  for (const auto& run : runs)
    for (const auto& curve : run.curves)
      for (const auto& p : curve.points)
        csv += fmt::format("{},{},{},{},{},{},{},{}\n", csv_field(run.name), curve.name, p.first, p.last, number(p.value.value),
                           number(p.value.low), number(p.value.high), run.sequences);
  return csv;
}

std::string report_json(const std::vector<RunReport>& runs) {
  auto all = nlohmann::ordered_json::array();
  for (const auto& run : runs) {
    nlohmann::ordered_json entry{{"name", run.name}, {"sequences", run.sequences}, {"frames", run.frames}, {"facts", run.facts}};
    for (const auto& [name, value] : run.numbers) entry["numbers"][name] = json_of(value);
    for (const auto& curve : run.curves) {
      auto& points = entry["curves"][curve.name] = nlohmann::ordered_json::array();
      for (const auto& p : curve.points) {
        auto point = json_of(p.value);
        point["first"] = p.first;
        point["last"] = p.last;
        points.push_back(point);
      }
    }
    all.push_back(entry);
  }
  return nlohmann::ordered_json{{"intervals", "95 % bootstrap over sequences"}, {"runs", all}}.dump(1) + "\n";
}

std::vector<RunReport> read_report(const std::filesystem::path& file) {
  std::vector<RunReport> runs;
  try {
    const auto report = nlohmann::ordered_json::parse(read_file(file));
    for (const auto& run : report.at("runs")) runs.push_back(run_of(run));
  } catch (const nlohmann::json::exception& error) {
    throw Error(fmt::format("{}: expected a report.json of df-eval, got: {}", file.string(), error.what()));
  }
  return runs;
}

void write_report(const std::filesystem::path& folder, const std::vector<RunReport>& runs, bool pictures) {
  write_atomically(folder / "report.json", report_json(runs));
  write_atomically(folder / "curves.csv", report_csv(runs));
  write_atomically(folder / "table.txt", report_table(runs));
  if (pictures) write_png(folder / "curves.png", report_plot(runs));
}

}  // namespace df
