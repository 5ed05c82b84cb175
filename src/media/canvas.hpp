// SPDX-License-Identifier: MIT
// A white picture to draw lines and text on.
#pragma once

#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "media/backend.hpp"

namespace df {

constexpr media::Colour ink{40, 40, 40};

// Width of a text of this size in the font of draw_text, roughly.
inline double text_width(const std::string& text, double size) { return 0.62 * size * static_cast<double>(text.size()); }

class Canvas {
 public:
  Canvas(int64_t height, int64_t width) : pixels_(at::full({height, width, 3}, 255, at::kByte)) {}
  void line(const std::vector<media::Point>& points, media::Colour colour, double thickness) {
    media::backend().draw_line(data(), pixels_.size(0), pixels_.size(1), points, colour, thickness);
  }
  // A dot: a line that goes nowhere, with its round ends.
  void disc(media::Point centre, double radius, media::Colour colour) { line({centre, centre}, colour, 2 * radius); }
  void text(const std::string& text, media::Point baseline, double size, media::Colour colour = ink) {
    media::backend().draw_text(data(), pixels_.size(0), pixels_.size(1), text, baseline, size, colour);
  }
  // A polygon, mixed with what is below it where its opacity is under 1.
  void fill(const std::vector<media::Point>& corners, media::Colour colour, double opacity = 1.0) {
    const at::Tensor before = opacity < 1.0 ? pixels_.clone() : at::Tensor();
    media::backend().fill_polygon(data(), pixels_.size(0), pixels_.size(1), corners, colour);
    if (before.defined()) pixels_ = at::lerp(before.to(at::kFloat), pixels_.to(at::kFloat), opacity).round_().to(at::kByte);
  }
  // A picture uint8 [3, h, w] with its upper left corner at (x, y).
  void picture(const at::Tensor& rgb, int64_t x, int64_t y) {
    pixels_.narrow(0, y, rgb.size(1)).narrow(1, x, rgb.size(2)).copy_(rgb.permute({1, 2, 0}));
  }
  at::Tensor image() const { return pixels_.permute({2, 0, 1}).contiguous(); }

 private:
  uint8_t* data() { return pixels_.data_ptr<uint8_t>(); }
  at::Tensor pixels_;
};

}  // namespace df
