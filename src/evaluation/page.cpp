// SPDX-License-Identifier: MIT
#include "diffusion_forcing/drawing/page.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "diffusion_forcing/evaluation/report.hpp"
#include "drawing/markup.hpp"
#include "evaluation/curve_plots.hpp"
#include "evaluation/metric_words.hpp"

namespace df {

namespace {

std::string lead_of(const std::vector<RunReport>& runs) {
  const auto models = std::count_if(runs.begin(), runs.end(), [](const RunReport& run) { return run.name != reference_run; });
  std::string lead = fmt::format("{} {} measured on held-out video", models, models == 1 ? "model" : "models");
  if (!runs.empty())
    lead += fmt::format(": {} {} of {} frames after the context", runs[0].sequences, runs[0].sequences == 1 ? "sequence" : "sequences",
                        runs[0].frames);
  lead += ".";
  if (models < static_cast<int64_t>(runs.size()))
    lead += " The run real is true video in the place of a model: what a perfect model would get.";
  return lead;
}

drawing::Table numbers_of(const std::vector<RunReport>& runs) {
  drawing::Table table;
  table.caption =
      "Brackets are 95 % bootstrap intervals over sequences; where they overlap, a difference may be chance. The best model of each row is "
      "marked.";
  std::vector<std::string> names;
  for (const auto& run : runs) {
    table.columns.push_back({run.name, run.name == reference_run});
    for (const auto& [name, value] : run.numbers)
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  sort_for_reading(names);
  for (const auto& name : names) {
    const MetricWords words = metric_words(name);
    std::string frames = frames_of_number(name);
    if (const auto dash = frames.find('-'); dash != std::string::npos)
      frames = fmt::format("frames {} to {}", frames.substr(0, dash), frames.substr(dash + 1));
    drawing::TableRow row{words.title, frames, fmt::format("#{}", drawing::identifier(words.name)), words.unit, words.better, {}};
    for (const auto& run : runs) {
      const auto found = std::find_if(run.numbers.begin(), run.numbers.end(), [&](const auto& number) { return number.first == name; });
      row.entries.push_back(found == run.numbers.end() ? drawing::Entry{}
                                                       : drawing::entry_of(found->second.value, found->second.low, found->second.high));
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

// Of every number and curve that the runs have.
std::vector<drawing::Explanation> explanations_of(const std::vector<RunReport>& runs) {
  std::vector<std::string> there;
  const auto add = [&](const std::string& name) {
    if (const auto own = metric_words(name).name; std::find(there.begin(), there.end(), own) == there.end()) there.push_back(own);
  };
  for (const auto& run : runs) {
    for (const auto& [name, value] : run.numbers) add(name);
    for (const auto& curve : run.curves) add(curve.name);
  }
  sort_for_reading(there);
  std::vector<drawing::Explanation> all;
  for (const auto& name : there) {
    const MetricWords words = metric_words(name);
    const std::string better = drawing::better_words(words.better);
    all.push_back(
        {drawing::identifier(name), words.title,
         fmt::format("{}{}{}In report.json and curves.csv it is called {}.", words.explanation, words.explanation.empty() ? "" : " ",
                     better.empty() ? "" : static_cast<char>(std::toupper(better[0])) + better.substr(1) + ". ", name)});
  }
  return all;
}

}  // namespace

std::string report_page(const std::vector<RunReport>& runs, const std::string& title, const std::string& command, const PageParts& parts) {
  drawing::Page page(title, lead_of(runs));
  if (parts.frames) {
    page.section("Frames");
    page.media({"side_by_side.mp4", "One held-out sequence: the truth on the left, then each model in the order of the table.",
                "Video of the truth and of each model side by side"});
    page.media({"sheet.png", "Frames of the same sequence, a row a model. The numbers count frames after the context.",
                "Frames of the truth and of each model, row by row"});
  }
  for (const auto& [question, plots] : curve_plots(runs)) {
    page.section(question);
    page.plots(plots);
  }
  page.section("Numbers");
  page.table(numbers_of(runs));
  std::vector<std::string> beside{"report.json", "curves.csv", "table.txt"};
  if (parts.curves) beside.emplace_back("curves.png");
  page.files("The same as files:", beside);
  page.section("What the numbers mean");
  page.explanations(explanations_of(runs));
  if (!parts.plans.empty()) page.section("How the frames were sampled");
  for (const auto& [run, plan] : parts.plans) {
    page.text(run + ": all tokens begin as noise; each row of the matrix brings some of them nearer to clean.");
    page.scene(plan);
  }
  page.section("What was run");
  page.code(command);
  for (const RunReport& run : runs) page.facts(run.name, {run.facts.begin(), run.facts.end()});
  return page.html();
}

}  // namespace df
