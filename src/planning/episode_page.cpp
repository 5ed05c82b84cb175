// SPDX-License-Identifier: MIT
#include "diffusion_forcing/planning/episode_page.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/drawing/page.hpp"
#include "drawing/markup.hpp"

namespace df {

namespace {

using drawing::Better;
using drawing::Entry;

Entry entry_of(const Estimate& estimate, double scale) {
  Entry entry;
  if (!std::isfinite(estimate.mean)) return entry;
  entry.value = scale * estimate.mean;
  entry.text = fmt::format("{:.1f}", entry.value);
  entry.beside = fmt::format("\u00b1 {:.1f}", scale * estimate.error);
  return entry;
}

Entry share_entry(double share) { return {fmt::format("{:.1f} %", 100.0 * share), "", share}; }

Entry seconds_entry(const Replanning& planning) {
  if (!std::isfinite(planning.seconds)) return {};
  return {fmt::format("{:.3g}", planning.seconds), fmt::format("{} {} at once", planning.worlds, planning.worlds == 1 ? "world" : "worlds"),
          planning.seconds};
}

std::string link_of(const std::string& key) { return fmt::format("#{}", drawing::identifier(key)); }

drawing::Table table_of(const std::vector<EpisodeReport>& reports) {
  drawing::Table table;
  table.caption = "Means over episodes with their standard errors. The best policy of each row is marked.";
  for (const auto& report : reports) table.columns.push_back({report.policy, false});
  const auto row = [&](const std::string& title, const std::string& key, const std::string& unit, Better better, auto entry) {
    drawing::TableRow& added = table.rows.emplace_back();
    added = {title, "", link_of(key), unit, better, {}};
    for (const auto& report : reports) added.entries.push_back(entry(report));
  };
  for (const OutcomeSpec& outcome : reports.front().environment.outcomes) {
    row(outcome.title, outcome.key, "", outcome.better,
        [&](const EpisodeReport& report) { return entry_of(outcome_estimate(report, outcome.key), outcome.scale); });
    if (!outcome.share_key.empty())
      row(outcome.share_title, outcome.share_key, "of episodes", Better::higher,
          [&](const EpisodeReport& report) { return share_entry(outcome_share(report, outcome.key)); });
  }
  row("Time for a plan", "planning", "seconds", Better::lower,
      [](const EpisodeReport& report) { return seconds_entry(mean_replanning(report)); });
  return table;
}

// The share of episodes whose number was reached by then, for numbers that count steps and that an episode may lack.
std::vector<drawing::Plot> plots_of(const std::vector<EpisodeReport>& reports) {
  std::vector<drawing::Plot> plots;
  for (const OutcomeSpec& outcome : reports.front().environment.outcomes) {
    if (!outcome.whole || outcome.share_title.empty()) continue;
    drawing::Plot plot;
    plot.title = fmt::format("Episodes that have {} by then", outcome.share_title);
    plot.link = link_of(outcome.share_key);
    plot.x.title = "step of the episode";
    plot.y = {"", "%", Better::higher, false};
    for (const auto& report : reports) {
      std::vector<double> steps;
      for (const auto& episode : report.episodes)
        if (const double step = df::outcome(report, episode, outcome.key); std::isfinite(step)) steps.push_back(step);
      std::sort(steps.begin(), steps.end());
      drawing::Series series;
      series.name = report.policy;
      constexpr int64_t points = 60;
      for (int64_t i = 0; i <= points; ++i) {
        const double step = std::round(static_cast<double>(report.steps * i) / points);
        const auto reached = static_cast<double>(std::upper_bound(steps.begin(), steps.end(), step) - steps.begin());
        series.x.push_back(step);
        series.y.push_back(100.0 * reached / static_cast<double>(std::max<size_t>(report.episodes.size(), 1)));
      }
      plot.series.push_back(std::move(series));
    }
    plots.push_back(std::move(plot));
  }
  return plots;
}

std::vector<drawing::Explanation> explanations_of(const EnvironmentSpec& environment) {
  std::vector<drawing::Explanation> all;
  for (const OutcomeSpec& outcome : environment.outcomes) {
    std::string text = outcome.meaning.empty() ? "" : outcome.meaning + ". ";
    if (outcome.scale != 1.0) text += fmt::format("The table shows {:g} times the number. ", outcome.scale);
    if (!outcome.share_key.empty()) text += "The mean is over the episodes that have it. ";
    all.push_back({drawing::identifier(outcome.key), outcome.title, text + fmt::format("In report.json it is called {}.", outcome.key)});
    if (!outcome.share_key.empty())
      all.push_back({drawing::identifier(outcome.share_key), outcome.share_title,
                     fmt::format("The share of episodes that have a number for '{}'.", outcome.title)});
  }
  all.push_back({"planning", "Time for a plan",
                 "Seconds of one call in which the policy planned, for as many worlds at once as are named. A controller plans nothing."});
  return all;
}

}  // namespace

std::string episode_page(const std::vector<EpisodeReport>& reports, const std::string& command, const EpisodePageFiles& files) {
  if (reports.empty()) throw Error("page of episodes: expected at least one report, got none");
  const EnvironmentSpec& environment = reports.front().environment;
  const auto episodes = reports.front().episodes.size();
  drawing::Page page(environment.task, fmt::format("{} {} in {} {} of {} steps each. Every policy plays the same worlds.", reports.size(),
                                                   reports.size() == 1 ? "policy" : "policies", episodes,
                                                   episodes == 1 ? "episode" : "episodes", reports.front().steps));
  page.section("Numbers");
  page.table(table_of(reports));
  page.files("The same as files:", {"table.txt", "episodes.csv", "report.json"});
  if (const auto plots = plots_of(reports); !plots.empty()) page.plots(plots);
  if (!files.closed_loop.empty() || !files.sheet.empty() || !files.denoising.empty()) page.section("Episodes");
  if (!files.closed_loop.empty())
    page.media({files.closed_loop,
                "Episode 0 as it was played, the policies side by side in the order of the table, each with the plan that it follows.",
                "Video of one episode of each policy"});
  if (!files.sheet.empty())
    page.media({files.sheet, "The first episodes, a row a policy: what happened, and the plan that was made at the start.",
                "Pictures of the first episodes of each policy"});
  if (!files.denoising.empty())
    page.media({files.denoising, "The plan of episode 0 while it is denoised, from noise to the path that is followed.",
                "Video of a plan while it is denoised"});
  page.section("What the numbers mean");
  page.explanations(explanations_of(environment));
  page.section("What was run");
  page.code(command);
  for (const auto& report : reports) {
    std::vector<std::pair<std::string, std::string>> facts{{"policy", report.description}};
    for (const auto& setting : report.environment.settings) facts.push_back(setting);
    if (!report.environment.protocol.empty()) facts.emplace_back("protocol", report.environment.protocol);
    if (!report.episodes.empty()) facts.emplace_back("seed of the first world", std::to_string(report.episodes.front().seed));
    page.facts(report.policy, facts);
  }
  return page.html();
}

}  // namespace df
