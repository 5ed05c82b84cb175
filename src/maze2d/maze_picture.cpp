// SPDX-License-Identifier: MIT
#include "diffusion_forcing/maze2d/maze_picture.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/shape.hpp"
#include "diffusion_forcing/maze2d/maze2d.hpp"
#include "media/canvas.hpp"

namespace df {

namespace {

using media::Colour;
using media::Point;

constexpr Colour wall_colour{163, 171, 184}, start_colour{0, 150, 70}, goal_colour{205, 20, 40}, plan_colour{25, 25, 25};
constexpr double ball_radius = 0.1, hidden_border = 0.6;  // metres, cells

// Blue at 0, red at 1, through purple: no colour that a start, a wall or a plan has.
Colour time_colour(double share) {
  constexpr std::array<std::array<double, 3>, 4> stops{{{30, 90, 235}, {130, 75, 225}, {225, 60, 170}, {235, 40, 45}}};
  const double at = std::clamp(share, 0.0, 1.0) * (stops.size() - 1);
  const auto i = std::min(static_cast<size_t>(at), stops.size() - 2);
  Colour colour;
  for (size_t c = 0; c < 3; ++c)
    colour[c] = static_cast<uint8_t>(std::lround(stops[i][c] + (at - static_cast<double>(i)) * (stops[i + 1][c] - stops[i][c])));
  return colour;
}

class MazeCanvas {
 public:
  MazeCanvas(const Maze2dLayout& layout, int64_t pixels)
      : pixels_(static_cast<double>(pixels)),
        height_(static_cast<double>(layout.height())),
        background_(at::full({3, layout.height() * pixels, layout.width() * pixels}, 255, at::kByte)),
        canvas_(layout.height() * pixels, layout.width() * pixels) {
    for (int64_t w = 0; w < layout.width(); ++w)
      for (int64_t h = 0; h < layout.height(); ++h)
        if (layout.wall({w, h})) {
          auto block = background_.narrow(1, (layout.height() - 1 - h) * pixels, pixels).narrow(2, w * pixels, pixels);
          for (int64_t c = 0; c < 3; ++c) block[c].fill_(wall_colour[static_cast<size_t>(c)]);
        }
    canvas_.picture(background_, 0, 0);
  }

  // Pixels of positions in the maze. Noise may lie anywhere: what is far outside is moved to where it is not seen either.
  std::vector<Point> places(const Tensor& positions, const char* name) const {
    std::vector<Point> all;
    if (!positions.defined()) return all;
    check_shape(positions, name, {-1, 2});
    const Tensor rows = positions.detach().to(at::kCPU, at::kDouble).contiguous();
    const double* p = rows.const_data_ptr<double>();
    for (int64_t i = 0; i < rows.size(0); ++i, p += 2) all.push_back(place({p[0], p[1]}));
    return all;
  }

  // Colours reach red at place `frames` - 1 and stay so.
  void driven(const std::vector<Point>& places, int64_t frames) {
    const auto last = static_cast<double>((frames > 0 ? frames : static_cast<int64_t>(places.size())) - 1);
    const double thickness = std::max(2.0, 0.075 * pixels_);
    for (size_t from = 0, to = 1; to < places.size(); ++to) {
      const double moved = std::hypot(places[to][0] - places[from][0], places[to][1] - places[from][1]);
      if (moved < 1.0 && to + 1 < places.size()) continue;  // a ball at rest takes no drawing
      canvas_.line({places[from], places[to]}, time_colour(last > 0 ? static_cast<double>(from) / last : 1.0), thickness);
      from = to;
    }
  }
  void dots(const std::vector<Point>& places) {
    for (size_t i = 0; i < places.size(); ++i)
      disc(places[i], 0.06, time_colour(static_cast<double>(i) / std::max(1.0, static_cast<double>(places.size()) - 1.0)));
  }
  void planned(const std::vector<Point>& places) {
    if (places.size() > 1) canvas_.line(places, plan_colour, std::max(1.0, 0.02 * pixels_));
  }
  void goal(const Point2& goal) {
    const Point centre = place(goal);
    std::vector<Point> ring;
    for (int64_t i = 0; i <= 64; ++i) {
      const double angle = 2.0 * std::numbers::pi * static_cast<double>(i) / 64.0, radius = maze2d_goal_radius * pixels_;
      ring.push_back({centre[0] + radius * std::cos(angle), centre[1] + radius * std::sin(angle)});
    }
    canvas_.line(ring, goal_colour, std::max(1.0, 0.04 * pixels_));
  }
  void cross(const Point2& goal) {
    const auto [x, y] = place(goal);
    const double arm = 0.15 * pixels_;
    for (const double side : {-arm, arm})
      canvas_.line({{x - arm, y - side}, {x + arm, y + side}}, goal_colour, std::max(2.0, 0.06 * pixels_));
  }
  void start(const Point2& start) {
    disc(place(start), 0.19, {255, 255, 255});
    disc(place(start), 0.15, start_colour);
  }
  void ball(const Point& at) {
    disc(at, ball_radius + 0.05, {255, 255, 255});
    disc(at, ball_radius, plan_colour);
  }
  // Without most of the border, which is wall and nothing else.
  Tensor image() const {
    const Tensor whole = canvas_.image();
    const auto crop = static_cast<int64_t>(hidden_border * pixels_);
    return whole.narrow(1, crop, whole.size(1) - 2 * crop).narrow(2, crop, whole.size(2) - 2 * crop).contiguous();
  }

 private:
  void disc(const Point& centre, double radius, Colour colour) { canvas_.disc(centre, std::max(1.0, radius * pixels_), colour); }
  Point place(const Point2& p) const {
    constexpr double far = 4.0;  // cells beyond the border
    const double width = static_cast<double>(background_.size(2)) / pixels_;
    const double x = std::isfinite(p[0]) ? std::clamp(p[0] + 0.7, -far, width + far) : -far;
    const double y = std::isfinite(p[1]) ? std::clamp(height_ - 0.7 - p[1], -far, height_ + far) : -far;
    return {x * pixels_, y * pixels_};
  }

  double pixels_, height_;
  Tensor background_;
  Canvas canvas_;
};

}  // namespace

int64_t maze_pixels(const Maze2dLayout& layout, int64_t width) { return std::clamp<int64_t>(width / (layout.width() - 1), 16, 80); }

Tensor draw_maze(const Maze2dLayout& layout, const MazeDrawing& drawing, int64_t pixels) {
  if (pixels < 1) throw Error(fmt::format("maze picture: expected one pixel a cell or more, got {}", pixels));
  MazeCanvas canvas(layout, pixels);
  const auto driven = canvas.places(drawing.positions, "positions");
  canvas.goal(drawing.goal);
  canvas.driven(driven, drawing.frames);
  canvas.dots(canvas.places(drawing.points, "points"));
  canvas.planned(canvas.places(drawing.plan, "plan"));
  canvas.start(drawing.start);
  canvas.cross(drawing.goal);
  if (drawing.ball && !driven.empty()) canvas.ball(driven.back());
  return canvas.image();
}

}  // namespace df
