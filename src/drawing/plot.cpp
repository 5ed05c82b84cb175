// SPDX-License-Identifier: MIT
#include "diffusion_forcing/drawing/plot.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <sstream>

#include "diffusion_forcing/core/error.hpp"
#include "drawing/clip.hpp"
#include "drawing/ticks.hpp"

namespace df::drawing {

namespace {

constexpr double edge = 4.0, title_size = 15.0, words_size = 12.5, tick_size = 11.5, line_height = 18.0;
constexpr size_t most_dots = 40, most_hovers = 400;

const Paint text_paint = role_paint(Paint::Role::text), quiet = role_paint(Paint::Role::quiet), rule = role_paint(Paint::Role::rule),
            grid = role_paint(Paint::Role::grid);

std::vector<std::string> wrapped(const std::string& text, double size, double width) {
  std::vector<std::string> lines;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    if (lines.empty() || words_width(lines.back() + " " + word, size) > width)
      lines.push_back(word);
    else
      lines.back() += " " + word;
  }
  return lines;
}

std::string with_unit(const std::string& title, const std::string& unit) {
  return title.empty() || unit.empty() ? title + unit : fmt::format("{} ({})", title, unit);
}

struct Style {
  Paint paint;
  bool dashed = false;
};

class Drawer {
 public:
  explicit Drawer(const Plot& plot) : plot_(plot) {
    scene_.width = plot.width;
    int64_t number = 0;
    for (const Series& series : plot.series) {
      check(series);
      styles_.push_back(series.reference ? Style{quiet, true} : Style{series_paint(number++), false});
    }
  }

  Scene draw() {
    header();
    const bool known = fit();
    axes(known);
    if (known) {
      for (size_t i = 0; i < plot_.series.size(); ++i) band(plot_.series[i], styles_[i]);
      for (size_t i = 0; i < plot_.series.size(); ++i) line(plot_.series[i], styles_[i]);
      hovers();
    } else {
      scene_.add(Words{"no value yet",
                       {0.5 * (frame_.left + frame_.right), 0.5 * (frame_.top + frame_.bottom)},
                       words_size,
                       Anchor::middle,
                       false,
                       quiet,
                       ""});
    }
    describe();
    return std::move(scene_);
  }

 private:
  void check(const Series& series) const {
    const auto require = [&](const char* what, size_t size, bool may_be_empty) {
      if (size != series.x.size() && !(may_be_empty && size == 0))
        throw Error(
            fmt::format("plot '{}': series '{}': expected {} values of {}, got {}", plot_.title, series.name, series.x.size(), what, size));
    };
    require("y", series.y.size(), false);
    require("low", series.low.size(), true);
    require("high", series.high.size(), true);
    require("at", series.at.size(), true);
    if (series.low.size() != series.high.size())
      throw Error(fmt::format("plot '{}': series '{}': expected low and high together", plot_.title, series.name));
  }

  void header() {
    double y = edge + title_size;
    for (const auto& text : wrapped(plot_.title, title_size * 1.05, plot_.width - 2 * edge)) {
      scene_.add(Words{text, {edge, y}, title_size, Anchor::start, true, text_paint, plot_.link});
      y += line_height;
    }
    const std::string unit = with_unit(plot_.y.title, plot_.y.unit), better = better_words(plot_.y.better);
    double x = edge;
    if (plot_.y.better == Better::lower || plot_.y.better == Better::higher) {
      arrow(x + 4.0, y, plot_.y.better == Better::higher);
      x += 14.0;
    }
    if (!unit.empty() || !better.empty()) {
      scene_.add(Words{better + (unit.empty() || better.empty() ? "" : ", ") + unit, {x, y}, words_size, Anchor::start, false, quiet, ""});
      y += line_height;
    }
    if (plot_.series.size() > 1) legend(y);
    frame_.top = y - 6.0;
  }

  // To the side where the better values are, on the line of words at y.
  void arrow(double x, double y, bool up) {
    const double tip = up ? y - 10.5 : y + 0.5, tail = up ? y + 0.5 : y - 10.5, wing = up ? tip + 4.5 : tip - 4.5;
    scene_.add(Line{{{x, tail}, {x, tip}}, text_paint, 1.6});
    scene_.add(Line{{{x - 4.0, wing}, {x, tip}, {x + 4.0, wing}}, text_paint, 1.6});
  }

  void legend(double& y) {
    double x = edge;
    for (size_t i = 0; i < plot_.series.size(); ++i) {
      const std::string& name = plot_.series[i].name;
      const double width = 24.0 + words_width(name, words_size) + 14.0;
      if (x > edge && x + width > plot_.width) {
        x = edge;
        y += line_height;
      }
      scene_.add(Line{{{x + 1.0, y - 4.0}, {x + 18.0, y - 4.0}}, styles_[i].paint, styles_[i].dashed ? 2.0 : 3.0, styles_[i].dashed});
      scene_.add(Words{name, {x + 24.0, y}, words_size, Anchor::start, false, text_paint, ""});
      x += width;
    }
    y += line_height;
  }

  // The ranges of both axes. Values decide, with room for half of their range or for a usual interval; wider ones are cut. False: nothing
  // to show.
  bool fit() {
    Range x, y, wide;
    std::vector<double> reach;  // of intervals beyond their values
    for (const Series& series : plot_.series)
      for (size_t i = 0; i < series.x.size(); ++i) {
        if (!std::isfinite(series.x[i]) || !std::isfinite(series.y[i])) continue;
        x.cover(series.x[i]);
        y.cover(series.y[i]);
        if (series.low.empty() || !std::isfinite(series.low[i]) || !std::isfinite(series.high[i])) continue;
        wide.cover(series.low[i]);
        wide.cover(series.high[i]);
        reach.push_back(std::max(series.y[i] - series.low[i], series.high[i] - series.y[i]));
      }
    std::sort(reach.begin(), reach.end());
    const bool known = !x.empty();
    if (!known) x = y = {0.0, 1.0};
    if (plot_.y.better == Better::one) y.cover(1.0);
    const bool logarithmic = plot_.y.logarithmic && y.low > 0.0;
    const double usual = reach.empty() ? 0.0 : 1.1 * reach[reach.size() / 2];
    const double room = std::max({0.5 * (y.high - y.low), usual, 1e-3 * std::abs(y.high), 1e-9});
    const double least = wide.empty() ? y.low : std::min(y.low, wide.low), most = wide.empty() ? y.high : std::max(y.high, wide.high);
    if (logarithmic) {
      const double factor = std::max(1.02, std::pow(y.high / y.low, 0.05));
      y = {y.low / factor, y.high * factor};
    } else {
      y = y.high > y.low ? Range{std::max(least, y.low - room), std::min(most, y.high + room)} : Range{least, most};
      const double margin = y.high > y.low ? 0.05 * (y.high - y.low) : room;
      y = {y.low - margin, y.high + margin};
    }
    if (!(x.high > x.low)) x = {x.low - 1.0, x.high + 1.0};
    across_ = Scale(x, plot_.x.logarithmic);
    up_ = Scale(y, plot_.y.logarithmic);
    return known;
  }

  void axes(bool known) {
    const auto up = known ? up_.ticks(5) : std::vector<double>{}, across = known ? across_.ticks(6) : std::vector<double>{};
    const auto words_of = [](const std::vector<double>& ticks, size_t i, bool logarithmic) {
      double largest = logarithmic ? std::abs(ticks[i]) : 0.0;
      if (!logarithmic)
        for (const double tick : ticks) largest = std::max(largest, std::abs(tick));
      return tick_words(ticks[i], largest);
    };
    double widest = 0.0;
    for (size_t i = 0; i < up.size(); ++i) widest = std::max(widest, words_width(words_of(up, i, plot_.y.logarithmic), tick_size));
    frame_ = {edge + widest + 8.0, frame_.top, plot_.width - 16.0, frame_.top + plot_.height};
    for (size_t i = 0; i < up.size(); ++i) {
      const double y = at(across_.range().low, up[i]).y;
      scene_.add(Line{{{frame_.left, y}, {frame_.right, y}}, grid, 1.0});
      scene_.add(Words{words_of(up, i, plot_.y.logarithmic), {frame_.left - 6.0, y + 4.0}, tick_size, Anchor::end, false, quiet, ""});
    }
    for (size_t i = 0; i < across.size(); ++i) {
      const double x = at(across[i], up_.range().low).x;
      scene_.add(Line{{{x, frame_.bottom}, {x, frame_.bottom + 4.0}}, rule, 1.0});
      scene_.add(Words{words_of(across, i, plot_.x.logarithmic), {x, frame_.bottom + 16.0}, tick_size, Anchor::middle, false, quiet, ""});
    }
    if (plot_.y.better == Better::one && known) {
      const double y = at(across_.range().low, 1.0).y;
      scene_.add(Line{{{frame_.left, y}, {frame_.right, y}}, rule, 1.0});
    }
    scene_.add(Line{{{frame_.left, frame_.bottom}, {frame_.right, frame_.bottom}}, rule, 1.0});
    scene_.add(Words{with_unit(plot_.x.title, plot_.x.unit),
                     {0.5 * (frame_.left + frame_.right), frame_.bottom + 32.0},
                     words_size,
                     Anchor::middle,
                     false,
                     quiet,
                     ""});
    scene_.height = frame_.bottom + 40.0;
  }

  Point at(double x, double y) const {
    return {frame_.left + across_.share(x) * (frame_.right - frame_.left), frame_.bottom - up_.share(y) * (frame_.bottom - frame_.top)};
  }
  // Runs of points for which `known` holds: [first, last).
  template <class Known>
  static std::vector<std::pair<size_t, size_t>> runs(size_t count, Known known) {
    std::vector<std::pair<size_t, size_t>> all;
    for (size_t i = 0; i < count; ++i) {
      if (!known(i)) continue;
      if (all.empty() || all.back().second != i) all.emplace_back(i, i);
      all.back().second = i + 1;
    }
    return all;
  }
  static bool finite(const Point& p) { return std::isfinite(p.x) && std::isfinite(p.y); }

  void band(const Series& series, const Style& style) {
    if (series.low.empty()) return;
    const auto known = [&](size_t i) { return finite(at(series.x[i], series.low[i])) && finite(at(series.x[i], series.high[i])); };
    for (const auto& [first, last] : runs(series.x.size(), known)) {
      if (last - first == 1) {
        for (const auto& piece : clip_line({at(series.x[first], series.low[first]), at(series.x[first], series.high[first])}, frame_))
          scene_.add(Line{piece, style.paint, 1.5});
        continue;
      }
      std::vector<Point> corners;
      for (size_t i = first; i < last; ++i) corners.push_back(at(series.x[i], series.high[i]));
      for (size_t i = last; i > first; --i) corners.push_back(at(series.x[i - 1], series.low[i - 1]));
      if (auto inside = clip_area(corners, frame_); !inside.empty()) scene_.add(Area{std::move(inside), style.paint, 0.2});
    }
  }

  void line(const Series& series, const Style& style) {
    const auto known = [&](size_t i) { return finite(at(series.x[i], series.y[i])); };
    for (const auto& [first, last] : runs(series.x.size(), known)) {
      std::vector<Point> points;
      for (size_t i = first; i < last; ++i) points.push_back(at(series.x[i], series.y[i]));
      for (const auto& piece : clip_line(points, frame_)) scene_.add(Line{piece, style.paint, piece.size() == 1 ? 6.0 : 2.0, style.dashed});
      if (series.x.size() <= most_dots && !style.dashed)
        for (const Point& point : points)
          if (frame_.holds(point)) scene_.add(Line{{point}, style.paint, 5.0});
    }
  }

  // A strip of the axes for each x, which says the values of all series there.
  void hovers() {
    std::map<double, std::string> words;
    for (const Series& series : plot_.series)
      for (size_t i = 0; i < series.x.size(); ++i) {
        if (!std::isfinite(at(series.x[i], up_.range().low).x)) continue;
        std::string& all = words[series.x[i]];
        if (all.empty()) all = series.at.empty() ? fmt::format("{} {}", plot_.x.title, series.x[i]) : series.at[i];
        all += fmt::format("\n{}{}{}", series.name, series.name.empty() ? "" : ": ", value_words(series.y[i]));
        if (!series.low.empty() && std::isfinite(series.low[i]) && std::isfinite(series.high[i]))
          all += fmt::format(" [{}, {}]", value_words(series.low[i]), value_words(series.high[i]));
      }
    if (words.size() > most_hovers) return;
    double left = frame_.left;
    for (auto it = words.begin(); it != words.end(); ++it) {
      const double x = at(it->first, up_.range().low).x;
      const double right = std::next(it) == words.end() ? frame_.right : 0.5 * (x + at(std::next(it)->first, up_.range().low).x);
      scene_.add(box(left, frame_.top, right - left, frame_.bottom - frame_.top, role_paint(Paint::Role::none)), it->second);
      left = right;
    }
  }

  void describe() {
    scene_.description.title = plot_.title;
    std::string& details = scene_.description.details;
    details = fmt::format("{}over {}.", plot_.y.better == Better::none ? "" : better_words(plot_.y.better) + ", ",
                          plot_.x.title.empty() ? "x" : plot_.x.title);
    for (const Series& series : plot_.series) {
      const auto known = runs(series.x.size(), [&](size_t i) { return std::isfinite(series.y[i]); });
      if (!known.empty())
        details += fmt::format(" {}: from {} to {}.", series.name.empty() ? "line" : series.name,
                               value_words(series.y[known.front().first]), value_words(series.y[known.back().second - 1]));
    }
  }

  const Plot& plot_;
  std::vector<Style> styles_;
  Scene scene_;
  Frame frame_;
  Scale across_{{0.0, 1.0}, false}, up_{{0.0, 1.0}, false};
};

}  // namespace

std::string better_words(Better better) {
  switch (better) {
    case Better::lower:
      return "lower is better";
    case Better::higher:
      return "higher is better";
    case Better::one:
      return "near 1 is better";
    case Better::none:
      break;
  }
  return "";
}

Scene draw(const Plot& plot) { return Drawer(plot).draw(); }

}  // namespace df::drawing
