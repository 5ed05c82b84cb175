// SPDX-License-Identifier: MIT
#include "drawing/clip.hpp"

#include <algorithm>
#include <utility>

namespace df::drawing {

namespace {

// The part of the polygon on the side of an edge where `inside` is at least 0; `inside` is linear.
template <class Inside>
std::vector<Point> cut(const std::vector<Point>& corners, Inside inside) {
  std::vector<Point> kept;
  for (size_t i = 0; i < corners.size(); ++i) {
    const Point &from = corners[(i + corners.size() - 1) % corners.size()], &to = corners[i];
    const double a = inside(from), b = inside(to);
    if ((a >= 0) != (b >= 0)) {
      const double share = a / (a - b);
      kept.push_back({from.x + share * (to.x - from.x), from.y + share * (to.y - from.y)});
    }
    if (b >= 0) kept.push_back(to);
  }
  return kept;
}

Point within(const Point& p, const Frame& frame) {
  return {std::clamp(p.x, frame.left, frame.right), std::clamp(p.y, frame.top, frame.bottom)};
}

// Cuts the segment to the frame; false where none of it is inside.
bool cut_segment(Point& from, Point& to, const Frame& frame) {
  double enter = 0.0, leave = 1.0;
  const double dx = to.x - from.x, dy = to.y - from.y;
  const std::pair<double, double> edges[4] = {
      {-dx, from.x - frame.left}, {dx, frame.right - from.x}, {-dy, from.y - frame.top}, {dy, frame.bottom - from.y}};
  for (const auto& [slope, room] : edges) {
    if (slope == 0.0) {
      if (room < 0.0) return false;
    } else if (slope < 0.0) {
      enter = std::max(enter, room / slope);
    } else {
      leave = std::min(leave, room / slope);
    }
  }
  if (enter > leave) return false;
  const Point start = from;
  from = within({start.x + enter * dx, start.y + enter * dy}, frame);
  to = within({start.x + leave * dx, start.y + leave * dy}, frame);
  return true;
}

}  // namespace

std::vector<Point> clip_area(std::vector<Point> corners, const Frame& frame) {
  corners = cut(corners, [&](const Point& p) { return p.x - frame.left; });
  corners = cut(corners, [&](const Point& p) { return frame.right - p.x; });
  corners = cut(corners, [&](const Point& p) { return p.y - frame.top; });
  corners = cut(corners, [&](const Point& p) { return frame.bottom - p.y; });
  for (Point& p : corners) p = within(p, frame);  // rounding
  return corners;
}

std::vector<std::vector<Point>> clip_line(const std::vector<Point>& points, const Frame& frame) {
  std::vector<std::vector<Point>> pieces;
  if (points.size() == 1 && frame.holds(points[0])) pieces.push_back(points);
  bool open = false;  // the last piece goes on with the next segment
  for (size_t i = 1; i < points.size(); ++i) {
    Point from = points[i - 1], to = points[i];
    if (!cut_segment(from, to, frame)) {
      open = false;
      continue;
    }
    if (!open) pieces.push_back({from});
    pieces.back().push_back(to);
    open = frame.holds(points[i]);
  }
  return pieces;
}

}  // namespace df::drawing
