// SPDX-License-Identifier: MIT
// What libdiffusion_forcing_media (OpenCV) does for pictures, in plain bytes: neither side sees the other's tensor or matrix type.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace df::media {

struct Image {
  int64_t height = 0, width = 0;
  std::vector<uint8_t> rgb;  // [height, width, 3]
};

using Point = std::array<double, 2>;  // x to the right, y downwards, in pixels
using Colour = std::array<uint8_t, 3>;

// All throw df::Error; `name` is what messages call the file.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string encode_png(const uint8_t* rgb, int64_t height, int64_t width) = 0;
  virtual Image decode_image(std::string_view bytes, const std::string& name) = 0;
  // Cuts the middle of the picture to the shape of the target and scales it: the shorter side fits. Area interpolation where it shrinks.
  virtual void fit(const uint8_t* from, int64_t height, int64_t width, uint8_t* to, int64_t to_height, int64_t to_width) = 0;
  // For plots, with smooth edges, into a picture [height, width, 3]. Text is ASCII, `size` pixels high, and starts at `baseline`.
  virtual void draw_line(uint8_t* rgb, int64_t height, int64_t width, const std::vector<Point>& points, Colour colour,
                         double thickness) = 0;
  virtual void draw_text(uint8_t* rgb, int64_t height, int64_t width, const std::string& text, Point baseline, double size,
                         Colour colour) = 0;
  virtual void fill_polygon(uint8_t* rgb, int64_t height, int64_t width, const std::vector<Point>& corners, Colour colour) = 0;
  virtual double text_width(const std::string& text, double size) = 0;  // in pixels, of what draw_text draws
};

// The library, loaded on first use. Throws df::Error with the loader's message.
Backend& backend();

inline constexpr const char* kBackendSymbol = "df_media_backend";
using GetBackend = Backend* (*)();

}  // namespace df::media
