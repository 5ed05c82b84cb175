// SPDX-License-Identifier: MIT
// Scenes as pixels.
#include <algorithm>
#include <cmath>

#include "diffusion_forcing/drawing/scene.hpp"
#include "drawing/style.hpp"
#include "media/canvas.hpp"

namespace df::drawing {

namespace {

std::string ascii(const std::string& text) {
  std::string plain;
  for (const char c : text)
    if ((static_cast<unsigned char>(c) & 0xC0) != 0x80) plain += c >= ' ' && c <= '~' ? c : '?';
  return plain;
}

// The dashes of a line, each as long as the gap after it.
std::vector<std::vector<media::Point>> dashes_of(const std::vector<media::Point>& points, double length) {
  std::vector<std::vector<media::Point>> dashes;
  double walked = 0.0;
  bool on = true;
  for (size_t i = 1; i < points.size(); ++i) {
    const auto &from = points[i - 1], &to = points[i];
    const double whole = std::hypot(to[0] - from[0], to[1] - from[1]);
    for (double at = 0.0; at < whole;) {
      const double next = std::min(whole, at + length - walked);
      const auto place = [&](double d) { return media::Point{std::lerp(from[0], to[0], d / whole), std::lerp(from[1], to[1], d / whole)}; };
      if (on && walked == 0.0) dashes.emplace_back().push_back(place(at));
      if (on) dashes.back().push_back(place(next));
      walked += next - at;
      at = next;
      if (walked >= length - 1e-9) {
        walked = 0.0;
        on = !on;
      }
    }
  }
  return dashes;
}

struct Painter {
  Canvas& canvas;
  double scale;

  media::Point point(const Point& p) const { return {scale * p.x, scale * p.y}; }
  std::vector<media::Point> points(const std::vector<Point>& all) const {
    std::vector<media::Point> scaled;
    for (const Point& p : all) scaled.push_back(point(p));
    return scaled;
  }

  void operator()(const Line& line) const {
    if (line.points.empty() || line.paint.role == Paint::Role::none) return;
    auto scaled = points(line.points);
    if (scaled.size() == 1) scaled.push_back(scaled[0]);
    const Rgb colour = light_shade(line.paint);
    if (!line.dashed) return canvas.line(scaled, colour, scale * line.width);
    for (const auto& dash : dashes_of(scaled, 2.2 * scale * line.width)) canvas.line(dash, colour, scale * line.width);
  }
  void operator()(const Area& area) const {
    if (area.corners.empty() || area.paint.role == Paint::Role::none) return;
    canvas.fill(points(area.corners), light_shade(area.paint), area.opacity);
  }
  void operator()(const Words& words) const {
    const std::string text = ascii(words.text);
    const double size = scale * words.size, width = media::backend().text_width(text, size);
    auto at = point(words.at);
    at[0] -= words.anchor == Anchor::start ? 0.0 : words.anchor == Anchor::middle ? 0.5 * width : width;
    canvas.text(text, at, size, light_shade(words.paint));
    if (words.bold) canvas.text(text, {at[0] + 1.0, at[1]}, size, light_shade(words.paint));
  }
};

}  // namespace

Tensor paint(const Scene& scene, double scale) {
  const auto pixels = [&](double length) { return std::max<int64_t>(1, std::llround(scale * length)); };
  Canvas canvas(pixels(scene.height), pixels(scene.width));
  for (const Mark& mark : scene.marks) std::visit(Painter{canvas, scale}, mark.shape);
  return canvas.image();
}

}  // namespace df::drawing
