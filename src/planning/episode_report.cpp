// SPDX-License-Identifier: MIT
// Numbers of played episodes: estimates, table, CSV, JSON. The environment's spec says which numbers there are.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/text_table.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/planning/episodes.hpp"

namespace df {

namespace {

using Json = nlohmann::ordered_json;

size_t index_of(const EnvironmentSpec& spec, std::string_view key) {
  std::string known;
  for (size_t i = 0; i < spec.outcomes.size(); ++i) {
    if (spec.outcomes[i].key == key) return i;
    known += (i > 0 ? ", " : "") + spec.outcomes[i].key;
  }
  throw Error(fmt::format("{}: unknown number '{}' of an episode; expected one of: {}", spec.task, key, known));
}

// Of the episodes that have the number.
std::vector<double> numbers(const EpisodeReport& report, size_t index) {
  std::vector<double> all;
  for (const auto& episode : report.episodes)
    if (!std::isnan(episode.outcome.at(index))) all.push_back(episode.outcome[index]);
  return all;
}

double share(const EpisodeReport& report, size_t index) {
  const auto all = static_cast<double>(report.episodes.size());
  return all > 0 ? static_cast<double>(numbers(report, index).size()) / all : 0.0;
}

std::string cell(const Estimate& e, double scale) {
  return std::isfinite(e.mean) ? fmt::format("{:.1f} +- {:.1f}", scale * e.mean, scale * e.error) : "-";
}

std::string seconds_cell(const Replanning& mean) {
  if (!std::isfinite(mean.seconds)) return "-";
  return fmt::format("{:.3g} ({} {} at once)", mean.seconds, mean.worlds, mean.worlds == 1 ? "world" : "worlds");
}

std::string protocol_cell(const EpisodeReport& report) {
  const auto& environment = report.environment;
  if (environment.steps == report.steps) return environment.protocol;
  return fmt::format("{} steps of the {} protocol's {}", report.steps, environment.protocol, environment.steps);
}

// Titles and, for a report, cells.
std::vector<std::string> column(const EpisodeReport& report, bool titles) {
  const auto& environment = report.environment;
  std::vector<std::string> lines;
  const auto line = [&](const std::string& title, const std::string& text) { lines.push_back(titles ? title : text); };
  line("", report.policy);
  line("task", environment.task);
  for (const auto& [name, value] : environment.settings) line(name, value);
  if (!environment.protocol.empty()) line("protocol", protocol_cell(report));
  line("steps", std::to_string(report.steps));
  line("episodes", std::to_string(report.episodes.size()));
  for (size_t i = 0; i < environment.outcomes.size(); ++i) {
    const auto& outcome = environment.outcomes[i];
    line(outcome.title, cell(estimate(numbers(report, i)), outcome.scale));
    if (!outcome.share_title.empty()) line(outcome.share_title, fmt::format("{:.1f} %", 100.0 * share(report, i)));
  }
  line("seconds a plan", seconds_cell(mean_replanning(report)));
  return lines;
}

void check_alike(const std::vector<EpisodeReport>& reports) {
  for (const auto& report : reports) {
    const auto &first = reports.front().environment, &other = report.environment;
    const bool alike = std::equal(first.outcomes.begin(), first.outcomes.end(), other.outcomes.begin(), other.outcomes.end(),
                                  [](const OutcomeSpec& a, const OutcomeSpec& b) { return a.key == b.key; });
    if (!alike || first.place != other.place || first.settings.size() != other.settings.size() ||
        first.protocol.empty() != other.protocol.empty())
      throw Error(fmt::format("reports of {} and {}: expected environments with the same numbers", first.task, other.task));
  }
}

std::string csv_number(const OutcomeSpec& outcome, double value) {
  if (std::isnan(value)) return outcome.whole ? "-1" : "";
  return outcome.whole ? fmt::format("{}", std::llround(value)) : fmt::format("{}", value);
}

Json json_number(const OutcomeSpec& outcome, double value) {
  if (std::isnan(value)) return nullptr;
  return outcome.whole ? Json(std::llround(value)) : Json(value);
}

Json json_of(const Estimate& e) { return {{"mean", e.mean}, {"error", e.error}}; }

Json json_of(const EnvironmentSpec& environment, const Episode& e, int64_t number) {
  Json json{{"episode", number}, {"seed", e.seed}, {"start", e.start}, {"goal", e.goal}};
  for (size_t i = 0; i < environment.outcomes.size(); ++i)
    json[environment.outcomes[i].key] = json_number(environment.outcomes[i], e.outcome.at(i));
  return json;
}

Json json_of(const EpisodeReport& report) {
  const auto& environment = report.environment;
  const auto planning = mean_replanning(report);
  Json json{{"policy", report.policy}, {"description", report.description}, {"task", environment.task}};
  for (const auto& [name, value] : environment.settings) json[name] = value;
  if (!environment.protocol.empty()) json["protocol"] = environment.protocol;
  json["steps"] = report.steps;
  for (size_t i = 0; i < environment.outcomes.size(); ++i) {
    const auto& outcome = environment.outcomes[i];
    json[outcome.key] = json_of(estimate(numbers(report, i)));
    if (!outcome.share_key.empty()) json[outcome.share_key] = share(report, i);
  }
  json["planning"] = {{"seconds", planning.seconds}, {"worlds", planning.worlds}, {"plans", report.replannings.size()}};
  json["episodes"] = Json::array();
  for (size_t i = 0; i < report.episodes.size(); ++i)
    json["episodes"].push_back(json_of(environment, report.episodes[i], static_cast<int64_t>(i)));
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

double outcome(const EpisodeReport& report, const Episode& episode, std::string_view key) {
  return episode.outcome.at(index_of(report.environment, key));
}

Estimate outcome_estimate(const EpisodeReport& report, std::string_view key) {
  return estimate(numbers(report, index_of(report.environment, key)));
}

double outcome_share(const EpisodeReport& report, std::string_view key) { return share(report, index_of(report.environment, key)); }

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
  if (reports.empty()) throw Error("table of episodes: expected a report or more, got none");
  check_alike(reports);
  std::vector<std::vector<std::string>> columns{column(reports.front(), true)};
  for (const auto& report : reports) columns.push_back(column(report, false));
  return text_table(columns);
}

std::string episode_csv(const std::vector<EpisodeReport>& reports) {
  check_alike(reports);
  std::string csv = "policy,episode,seed";
  const auto environment = reports.empty() ? EnvironmentSpec{} : reports.front().environment;
  const size_t places = environment.place.size(), goals = std::min(places, static_cast<size_t>(environment.goal));
  for (size_t i = 0; i < places; ++i) csv += ",start_" + environment.place[i];
  for (size_t i = 0; i < goals; ++i) csv += ",goal_" + environment.place[i];
  for (const auto& outcome : environment.outcomes) csv += "," + outcome.key;
  csv += "\n";
  for (const auto& report : reports)
    for (size_t i = 0; i < report.episodes.size(); ++i) {
      const auto& e = report.episodes[i];
      csv += fmt::format("{},{},{}", csv_field(report.policy), i, e.seed);
      for (size_t p = 0; p < places; ++p) csv += fmt::format(",{}", e.start.at(p));
      for (size_t p = 0; p < goals; ++p) csv += fmt::format(",{}", e.goal.at(p));
      for (size_t k = 0; k < environment.outcomes.size(); ++k) csv.append(",").append(csv_number(environment.outcomes[k], e.outcome.at(k)));
      csv += "\n";
    }
  return csv;
}

std::string episode_json(const std::vector<EpisodeReport>& reports) {
  Json json{{"errors", "standard error of the mean"}};
  if (!reports.empty())
    for (const auto& outcome : reports.front().environment.outcomes)
      if (!outcome.meaning.empty()) json[outcome.key] = outcome.meaning;
  json["policies"] = Json::array();
  for (const auto& report : reports) json["policies"].push_back(json_of(report));
  return json.dump(1) + "\n";
}

}  // namespace df
