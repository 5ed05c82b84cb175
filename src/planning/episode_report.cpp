// SPDX-License-Identifier: MIT
// Scores of played episodes: estimates, table, CSV, JSON.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/text_table.hpp"
#include "diffusion_forcing/planning/episodes.hpp"

namespace df {

namespace {

template <class Get>
std::vector<double> numbers(const EpisodeReport& report, Get get) {
  std::vector<double> all;
  for (const auto& episode : report.episodes) all.push_back(get(episode));
  return all;
}

std::string cell(const Estimate& e, double scale = 1.0) {
  return std::isfinite(e.mean) ? fmt::format("{:.1f} +- {:.1f}", scale * e.mean, scale * e.error) : "-";
}

std::string seconds_cell(const Replanning& mean) {
  if (!std::isfinite(mean.seconds)) return "-";
  return fmt::format("{:.3g} ({} {} at once)", mean.seconds, mean.worlds, mean.worlds == 1 ? "world" : "worlds");
}

std::string protocol_cell(const EpisodeReport& report) {
  const int64_t own = episode_steps(maze2d_task(report.task), report.protocol);
  if (own == report.steps) return std::string(enum_name(report.protocol));
  return fmt::format("{} steps of the {} protocol's {}", report.steps, enum_name(report.protocol), own);
}

nlohmann::ordered_json json_of(const Estimate& e) { return {{"mean", e.mean}, {"error", e.error}}; }

nlohmann::ordered_json json_of(const Episode& e, int64_t number) {
  nlohmann::ordered_json json{{"episode", number}, {"seed", e.seed}, {"start", e.start},
                              {"goal", e.goal},    {"raw", e.raw},   {"normalized", e.normalized}};
  json["first_reach"] = nullptr;
  if (e.first_reach >= 0) json["first_reach"] = e.first_reach;
  return json;
}

}  // namespace

Estimate estimate(const std::vector<double>& values) {
  constexpr double unknown = std::numeric_limits<double>::quiet_NaN();
  if (values.empty()) return {unknown, unknown};
  const auto n = static_cast<double>(values.size());
  double sum = 0.0, squares = 0.0;
  for (const double v : values) sum += v;
  const double mean = sum / n;
  for (const double v : values) squares += (v - mean) * (v - mean);
  return {mean, values.size() > 1 ? std::sqrt(squares / (n - 1.0) / n) : 0.0};
}

Estimate raw_score(const EpisodeReport& report) {
  return estimate(numbers(report, [](const Episode& e) { return e.raw; }));
}

Estimate normalized_score(const EpisodeReport& report) {
  return estimate(numbers(report, [](const Episode& e) { return e.normalized; }));
}

FirstReach first_reach(const EpisodeReport& report) {
  std::vector<double> steps;
  for (const auto& episode : report.episodes)
    if (episode.first_reach >= 0) steps.push_back(static_cast<double>(episode.first_reach));
  const auto all = static_cast<double>(report.episodes.size());
  return {estimate(steps), all > 0 ? static_cast<double>(steps.size()) / all : 0.0};
}

Replanning mean_replanning(const EpisodeReport& report) {
  Replanning mean;
  for (const auto& one : report.replannings) mean.worlds = std::max(mean.worlds, one.worlds);
  std::vector<double> seconds;
  for (const auto& one : report.replannings)
    if (one.worlds == mean.worlds) seconds.push_back(one.seconds);
  mean.seconds = estimate(seconds).mean;
  return mean;
}

std::string episode_table(const std::vector<EpisodeReport>& reports) {
  std::vector<std::vector<std::string>> columns{
      {"", "task", "goals", "protocol", "steps", "episodes", "raw", "normalised x 100", "first reach, steps", "reached", "seconds a plan"}};
  for (const auto& r : reports) {
    const auto reach = first_reach(r);
    columns.push_back({r.policy, r.task, r.multi ? "multi" : "single", protocol_cell(r), std::to_string(r.steps),
                       std::to_string(r.episodes.size()), cell(raw_score(r)), cell(normalized_score(r), 100.0), cell(reach.steps),
                       fmt::format("{:.1f} %", 100.0 * reach.share), seconds_cell(mean_replanning(r))});
  }
  return text_table(columns);
}

std::string episode_csv(const std::vector<EpisodeReport>& reports) {
  std::string csv = "policy,episode,seed,start_x,start_y,goal_x,goal_y,raw,normalized,first_reach\n";
  for (const auto& report : reports)
    for (size_t i = 0; i < report.episodes.size(); ++i) {
      const auto& e = report.episodes[i];
      csv += fmt::format("{},{},{},{},{},{},{},{},{},{}\n", csv_field(report.policy), i, e.seed, e.start[0], e.start[1], e.goal[0],
                         e.goal[1], e.raw, e.normalized, e.first_reach);
    }
  return csv;
}

std::string episode_json(const std::vector<EpisodeReport>& reports) {
  auto policies = nlohmann::ordered_json::array();
  for (const auto& r : reports) {
    const auto reach = first_reach(r);
    const auto planning = mean_replanning(r);
    auto episodes = nlohmann::ordered_json::array();
    for (size_t i = 0; i < r.episodes.size(); ++i) episodes.push_back(json_of(r.episodes[i], static_cast<int64_t>(i)));
    policies.push_back({{"policy", r.policy},
                        {"description", r.description},
                        {"task", r.task},
                        {"goals", r.multi ? "multi" : "single"},
                        {"protocol", enum_name(r.protocol)},
                        {"steps", r.steps},
                        {"raw", json_of(raw_score(r))},
                        {"normalized", json_of(normalized_score(r))},
                        {"first_reach", json_of(reach.steps)},
                        {"reached", reach.share},
                        {"planning", {{"seconds", planning.seconds}, {"worlds", planning.worlds}, {"plans", r.replannings.size()}}},
                        {"episodes", episodes}});
  }
  return nlohmann::ordered_json{{"errors", "standard error of the mean"},
                                {"normalized", "0: D4RL's random policy, 1: its waypoint controller"},
                                {"policies", policies}}
             .dump(1) +
         "\n";
}

}  // namespace df
