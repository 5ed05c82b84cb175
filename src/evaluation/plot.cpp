// SPDX-License-Identifier: MIT
// Line plots of a report's curves.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "diffusion_forcing/evaluation/report.hpp"
#include "media/canvas.hpp"

namespace df {

namespace {

using media::Colour;
using media::Point;

constexpr Colour grid{225, 225, 225};
// Okabe & Ito: told apart by all kinds of colour vision.
constexpr std::array<Colour, 8> palette{
    {{0, 114, 178}, {213, 94, 0}, {0, 158, 115}, {204, 121, 167}, {230, 159, 0}, {86, 180, 233}, {120, 120, 120}, {0, 0, 0}}};
constexpr int64_t panel_width = 420, panel_height = 280, columns = 3, legend_line = 22;
constexpr double left = 62, right = 14, top = 30, bottom = 36;

Colour faint(Colour c) {
  for (auto& channel : c) channel = static_cast<uint8_t>(255 - (255 - channel) * 2 / 5);
  return c;
}

struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  void cover(double v) {
    if (!std::isfinite(v)) return;
    low = std::min(low, v);
    high = std::max(high, v);
  }
  double share(double v) const { return high > low ? (v - low) / (high - low) : 0.5; }
};

// 1, 2 or 5 times a power of ten, at most `most` of them in the range.
double tick_step(const Range& range, int most) {
  const double raw = std::max(range.high - range.low, 1e-12) / most, power = std::pow(10.0, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 5.0})
    if (factor * power >= raw) return factor * power;
  return 10.0 * power;
}

class Panel {
 public:
  Panel(Canvas& canvas, double x, double y, Range across, Range up) : canvas_(canvas), x_(x), y_(y), across_(across), up_(up) {}

  void axes(const std::string& title) {
    canvas_.text(title, {x_ + left, y_ + 18}, 13);
    const double up = tick_step(up_, 5), across = tick_step(across_, 5);
    for (double v = std::ceil(up_.low / up) * up; v <= up_.high + 1e-9 * up; v += up) {
      canvas_.line({at(across_.low, v), at(across_.high, v)}, grid, 1);
      const auto label = fmt::format("{:.4g}", std::abs(v) < 1e-9 * up ? 0.0 : v);
      canvas_.text(label, {x_ + left - 6 - text_width(label, 10), at(across_.low, v)[1] + 4}, 10);
    }
    for (double v = std::ceil(across_.low / across) * across; v <= across_.high + 1e-9 * across; v += across) {
      const auto label = fmt::format("{:.4g}", v);
      const auto place = at(v, up_.low);
      canvas_.line({place, {place[0], place[1] + 4}}, ink, 1);
      canvas_.text(label, {place[0] - 0.5 * text_width(label, 10), place[1] + 17}, 10);
    }
    canvas_.line({at(across_.low, up_.high), at(across_.low, up_.low), at(across_.high, up_.low)}, ink, 1);
  }

  void curve(const Curve& curve, Colour colour) {
    for (const auto part : {&Interval::low, &Interval::high, &Interval::value}) {
      std::vector<Point> points;
      for (const auto& p : curve.points)
        if (const double v = p.value.*part; std::isfinite(v)) points.push_back(at(middle(p), v));
      const bool value = part == &Interval::value;
      if (points.size() == 1) points.push_back({points[0][0] + 3, points[0][1]});
      if (!points.empty()) canvas_.line(points, value ? colour : faint(colour), value ? 2 : 1);
    }
  }

  static double middle(const CurvePoint& p) { return 0.5 * static_cast<double>(p.first + p.last); }

 private:
  Point at(double across, double up) const {
    return {x_ + left + across_.share(across) * (panel_width - left - right),
            y_ + panel_height - bottom - up_.share(up) * (panel_height - top - bottom)};
  }
  Canvas& canvas_;
  double x_, y_;
  Range across_, up_;
};

std::vector<std::string> curve_names(const std::vector<RunReport>& runs) {
  std::vector<std::string> names;
  for (const auto& run : runs)
    for (const auto& curve : run.curves)
      if (!curve.points.empty() && std::find(names.begin(), names.end(), curve.name) == names.end()) names.push_back(curve.name);
  return names;
}

// Values decide the range of a panel; a wide interval may leave it by half a range at most.
void fit(const std::vector<RunReport>& runs, const std::string& name, Range& across, Range& up) {
  Range wide;
  for (const auto& run : runs)
    for (const auto& curve : run.curves)
      if (curve.name == name)
        for (const auto& p : curve.points) {
          across.cover(Panel::middle(p));
          up.cover(p.value.value);
          wide.cover(p.value.low);
          wide.cover(p.value.high);
        }
  if (!std::isfinite(up.low)) up = {0.0, 1.0};
  const double margin = std::max(0.5 * (up.high - up.low), 1e-3 * std::max(std::abs(up.high), 1e-6));
  up = {std::max(std::min(wide.low, up.low), up.low - margin), std::min(std::max(wide.high, up.high), up.high + margin)};
  if (!(up.high > up.low)) up = {up.low - margin, up.high + margin};
  if (!(across.high > across.low)) across = {across.low - 1.0, across.high + 1.0};
}

}  // namespace

Tensor report_plot(const std::vector<RunReport>& runs) {
  const auto names = curve_names(runs);
  const auto panels = static_cast<int64_t>(names.size());
  const int64_t across = std::clamp<int64_t>(panels, 1, columns), down = std::max<int64_t>((panels + columns - 1) / columns, 1);
  Canvas canvas(down * panel_height + legend_line * static_cast<int64_t>(runs.size()) + 14, across * panel_width);
  for (int64_t i = 0; i < panels; ++i) {
    const auto& name = names[static_cast<size_t>(i)];
    Range horizontal, vertical;
    fit(runs, name, horizontal, vertical);
    Panel panel(canvas, static_cast<double>(i % columns * panel_width), static_cast<double>(i / columns * panel_height), horizontal,
                vertical);
    panel.axes(name);
    for (size_t r = 0; r < runs.size(); ++r)
      for (const auto& curve : runs[r].curves)
        if (curve.name == name) panel.curve(curve, palette[r % palette.size()]);
  }
  for (size_t r = 0; r < runs.size(); ++r) {
    const double y = static_cast<double>(down * panel_height) + legend_line * (static_cast<double>(r) + 0.6);
    canvas.line({{left, y}, {left + 28, y}}, palette[r % palette.size()], 3);
    canvas.text(fmt::format("{} ({} sequences)", runs[r].name, runs[r].sequences), {left + 38, y + 4}, 12);
  }
  return canvas.image();
}

}  // namespace df
