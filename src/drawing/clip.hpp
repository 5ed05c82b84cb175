// SPDX-License-Identifier: MIT
// Lines and areas cut at a rectangle.
#pragma once

#include <vector>

#include "diffusion_forcing/drawing/scene.hpp"

namespace df::drawing {

struct Frame {
  double left = 0.0, top = 0.0, right = 0.0, bottom = 0.0;
  bool holds(const Point& p) const { return p.x >= left && p.x <= right && p.y >= top && p.y <= bottom; }
};

// The part of the polygon in the frame (Sutherland & Hodgman 1974); empty where there is none. All points are finite.
std::vector<Point> clip_area(std::vector<Point> corners, const Frame& frame);
// The pieces of the line in the frame (Liang & Barsky 1984). All points are finite.
std::vector<std::vector<Point>> clip_line(const std::vector<Point>& points, const Frame& frame);

}  // namespace df::drawing
