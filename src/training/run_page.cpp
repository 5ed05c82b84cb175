// SPDX-License-Identifier: MIT
#include "diffusion_forcing/training/run_page.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string_view>
#include <vector>

#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/drawing/page.hpp"

namespace df {

namespace {

using drawing::Better;
using drawing::Page;
using drawing::Plot;
using drawing::Series;

constexpr double unknown = std::numeric_limits<double>::quiet_NaN();
constexpr size_t most_points = 250;

using Values = std::map<int64_t, double>;       // by step; of a step that was logged twice the later line counts
using Metrics = std::map<std::string, Values>;  // by name

Metrics read_metrics(const fs::path& file) {
  Metrics metrics;
  if (!fs::exists(file)) return metrics;
  std::istringstream lines(read_file(file));
  for (std::string line; std::getline(lines, line);) {
    const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object() || !json.contains("step") || !json["step"].is_number_integer()) continue;
    for (const auto& [name, value] : json.items())
      if (name != "step" && name != "time") metrics[name][json["step"].get<int64_t>()] = value.is_number() ? value.get<double>() : unknown;
  }
  return metrics;
}

struct Words {
  const char *name, *title, *unit, *explanation;
  Better better;
};

constexpr Words known[] = {
    {"train/loss", "Training loss", "", "The mean of the loss since the line before, as it is minimised.", Better::lower},
    {"val/loss", "Validation loss", "", "The same loss on held-out sequences, with the averaged weights and the same noise every time.",
     Better::lower},
    {"train/learning_rate", "Learning rate", "", "What the schedule gave the optimiser for the step.", Better::none},
    {"train/gradient_norm", "Norm of the gradient", "", "Before it is clipped. A sudden rise warns of an unstable run.", Better::none},
    {"train/steps_per_second", "Training steps a second", "steps/s", "Validation and checkpoints not counted.", Better::higher},
    {"train/frames_per_second", "Frames a second", "frames/s", "Steps a second times the frames of a batch.", Better::higher},
};
constexpr std::string_view error_prefix = "val/x0_error/";
std::string level_of(const std::string& name) { return name.substr(error_prefix.size()) + " K"; }

const Words* words_of(const std::string& name) {
  const auto* found = std::find_if(std::begin(known), std::end(known), [&](const Words& words) { return name == words.name; });
  return found == std::end(known) ? nullptr : found;
}

std::string id_of(const std::string& name) {
  std::string id = name;
  std::replace_if(
      id.begin(), id.end(), [](unsigned char c) { return !std::isalnum(c); }, '_');
  return id;
}

// The values as a line of at most `most_points` means over neighbouring steps, with a band from the least to the most of each. Where much
// more lies between two steps than is usual, as after a loss of lines, the line is broken.
Series series_of(const std::string& name, const Values& values) {
  Series series;
  series.name = name;
  if (values.empty()) return series;
  std::vector<int64_t> gaps;
  for (auto it = std::next(values.begin()); it != values.end(); ++it) gaps.push_back(it->first - std::prev(it)->first);
  std::sort(gaps.begin(), gaps.end());
  const int64_t usual = gaps.empty() ? 0 : gaps[gaps.size() / 2];
  const size_t bin = (values.size() + most_points - 1) / most_points;
  const auto add = [&](double x, double y, double low, double high) {
    series.x.push_back(x);
    series.y.push_back(y);
    if (bin < 2) return;
    series.low.push_back(low);
    series.high.push_back(high);
  };
  const auto after_gap = [&](Values::const_iterator it) {
    return it != values.begin() && gaps.size() > 3 && it->first - std::prev(it)->first > 8 * usual;
  };
  for (auto it = values.begin(); it != values.end();) {
    if (after_gap(it)) add(0.5 * static_cast<double>(it->first + std::prev(it)->first), unknown, unknown, unknown);
    double x = 0.0, y = 0.0, low = std::numeric_limits<double>::infinity(), high = -low;
    size_t steps = 0, count = 0;
    for (; it != values.end() && steps < bin && (steps == 0 || !after_gap(it)); ++it, ++steps) {
      x += static_cast<double>(it->first);
      if (!std::isfinite(it->second)) continue;
      y += it->second;
      low = std::min(low, it->second);
      high = std::max(high, it->second);
      ++count;
    }
    const bool any = count > 0;
    add(x / static_cast<double>(steps), any ? y / static_cast<double>(count) : unknown, any ? low : unknown, any ? high : unknown);
  }
  return series;
}

// Values that span more than a power of ten are seen better on a logarithmic axis.
bool spans_powers(const std::vector<Series>& all) {
  double low = std::numeric_limits<double>::infinity(), high = 0.0;
  for (const Series& series : all)
    for (const double y : series.y)
      if (std::isfinite(y)) {
        low = std::min(low, y);
        high = std::max(high, y);
      }
  return low > 0.0 && high > 10.0 * low;
}

class TrainingPage {
 public:
  TrainingPage(const fs::path& run, Metrics metrics) : run_(run), metrics_(std::move(metrics)) {}

  std::string html() {
    const auto name = fs::weakly_canonical(run_).filename().string();
    Page page("Training: " + name, lead());
    page.section("Curves");
    if (metrics_.empty())
      page.text("Nothing has been logged yet. This page is made again at each validation.");
    else
      page.plots(plots());
    samples(page);
    if (!metrics_.empty()) {
      page.section("Numbers");
      page.table(table());
      page.section("What the numbers mean");
      page.explanations(explanations());
    }
    what_was_run(page);
    return page.html();
  }

 private:
  // All names, the losses first and those that are not known last.
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    const auto rank = [](const std::string& name) {
      const Words* words = words_of(name);
      const auto place = words ? words - known : name.starts_with(error_prefix) ? 2 : std::ssize(known) + 1;
      return place + (words && place >= 2 ? 1 : 0);
    };
    for (const auto& [name, values] : metrics_) all.push_back(name);
    std::stable_sort(all.begin(), all.end(), [&](const auto& a, const auto& b) { return rank(a) < rank(b); });
    return all;
  }

  const Values* find(const std::string& name) const {
    const auto found = metrics_.find(name);
    return found == metrics_.end() ? nullptr : &found->second;
  }

  std::string lead() const {
    int64_t last = -1;
    for (const auto& [name, values] : metrics_) last = std::max(last, values.rbegin()->first);
    if (last < 0) return "What this run has learned so far.";
    return fmt::format("What this run has learned in {} steps. The page is made again at each validation.", last);
  }

  Plot plot_of(const std::string& title, const std::string& link, const std::string& unit, Better better,
               std::vector<Series> series) const {
    Plot plot;
    plot.title = title;
    plot.link = "#" + link;
    plot.x.title = "training step";
    plot.y = {"", unit, better, better == Better::lower && spans_powers(series)};
    plot.series = std::move(series);
    return plot;
  }

  std::vector<Plot> plots() const {
    std::vector<Plot> all;
    std::vector<Series> losses, errors;
    for (const char* name : {"train/loss", "val/loss"})
      if (const Values* values = find(name))
        losses.push_back(series_of(name == std::string("val/loss") ? "validation" : "training", *values));
    if (!losses.empty()) all.push_back(plot_of("Loss", "train_loss", "", Better::lower, std::move(losses)));
    for (const auto& [name, values] : metrics_)
      if (name.starts_with(error_prefix)) errors.push_back(series_of("k = " + level_of(name), values));
    if (!errors.empty())
      all.push_back(plot_of("Error of the predicted clean token", "val_x0_error", "squared", Better::lower, std::move(errors)));
    for (const Words& words : known)
      if (const std::string name = words.name; !name.ends_with("/loss"))
        if (const Values* values = find(name))
          all.push_back(plot_of(words.title, id_of(name), words.unit, words.better, {series_of("", *values)}));
    for (const auto& [name, values] : metrics_)
      if (!words_of(name) && !name.starts_with(error_prefix))
        all.push_back(plot_of(name, id_of(name), "", Better::none, {series_of("", values)}));
    return all;
  }

  // First, best and last of each number.
  drawing::Table table() const {
    drawing::Table table{"Logged values, and the steps at which they were logged.", {{"first"}, {"lowest"}, {"highest"}, {"last"}}, {}};
    for (const auto& name : names()) {
      std::vector<std::pair<int64_t, double>> finite;
      for (const auto& [step, value] : metrics_.at(name))
        if (std::isfinite(value)) finite.emplace_back(step, value);
      if (finite.empty()) continue;
      const auto by_value = [](const auto& a, const auto& b) { return a.second < b.second; };
      const auto entry = [](const std::pair<int64_t, double>& at) {
        auto shown = drawing::entry_of(at.second);
        shown.beside = fmt::format("step {}", at.first);
        return shown;
      };
      const Words* words = words_of(name);
      const bool error = name.starts_with(error_prefix);
      table.rows.push_back({words   ? words->title
                            : error ? "Error of the clean token"
                                    : name,
                            error ? "level k = " + level_of(name) : "",
                            "#" + (error ? "val_x0_error" : id_of(name)),
                            words ? words->unit : "",
                            Better::none,
                            {entry(finite.front()), entry(*std::min_element(finite.begin(), finite.end(), by_value)),
                             entry(*std::max_element(finite.begin(), finite.end(), by_value)), entry(finite.back())}});
    }
    return table;
  }

  std::vector<drawing::Explanation> explanations() const {
    std::vector<drawing::Explanation> all;
    bool errors = false;
    for (const auto& name : names()) {
      if (const Words* words = words_of(name))
        all.push_back(
            {id_of(name), words->title, fmt::format("{} In metrics.jsonl and TensorBoard it is called {}.", words->explanation, name)});
      else if (!name.starts_with(error_prefix))
        all.push_back({id_of(name), name, "A number of this run's own."});
      else if (!std::exchange(errors, true))
        all.push_back({"val_x0_error", "Error of the predicted clean token",
                       "Mean squared error of the predicted clean token of a held-out batch, every token noised to this share of the K "
                       "levels. Low levels show how fine details are kept, high levels how much is known without seeing the token. In "
                       "metrics.jsonl and TensorBoard it is called val/x0_error/<share>."});
    }
    return all;
  }

  // Sampled videos (or pictures), the last one first.
  void samples(Page& page) const {
    std::vector<std::pair<int64_t, std::string>> files;
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(run_ / "samples", ignored)) {
      const auto name = entry.path().filename().string(), ending = entry.path().extension().string();
      if (ending != ".mp4" && ending != ".gif" && ending != ".png") continue;
      const auto digits = name.find_first_of("0123456789");
      files.emplace_back(digits == std::string::npos ? 0 : std::strtoll(name.c_str() + digits, nullptr, 10), "samples/" + name);
    }
    if (files.empty()) return;
    std::sort(files.rbegin(), files.rend());
    page.section("Samples");
    page.media({files[0].second, fmt::format("Sequences that the model made up at step {}.", files[0].first), ""});
    if (files.size() == 1) return;
    std::vector<std::string> earlier;
    for (size_t i = 1; i < files.size(); ++i) earlier.push_back(files[i].second);
    page.files("Earlier ones:", earlier);
  }

  void what_was_run(Page& page) const {
    page.section("What was run");
    std::vector<std::pair<std::string, std::string>> facts{{"run folder", fs::weakly_canonical(run_).string()}};
    if (fs::exists(run_ / "run.json")) {
      auto json = nlohmann::ordered_json::parse(read_file(run_ / "run.json"), nullptr, /*allow_exceptions=*/false);
      if (!json.is_object()) json = nlohmann::ordered_json::object();
      for (const auto& [name, value] : json.items())
        if (value.is_string()) facts.emplace_back(name, value.get<std::string>());
    }
    page.facts("", facts);
    std::vector<std::string> files;
    for (const char* name : {"config.yaml", "run.json", "metrics.jsonl"})
      if (fs::exists(run_ / name)) files.emplace_back(name);
    if (!files.empty()) page.files("Files:", files);
  }

  const fs::path& run_;
  Metrics metrics_;
};

}  // namespace

void write_training_page(const fs::path& run) {
  write_atomically(run / "index.html", TrainingPage(run, read_metrics(run / "metrics.jsonl")).html());
}

}  // namespace df
