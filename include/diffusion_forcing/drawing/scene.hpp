// SPDX-License-Identifier: MIT
// A picture of lines, areas and words, written as SVG (for pages) or painted as pixels (for PNG files and TensorBoard). Both come from the
// same scene, so that they show the same.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "diffusion_forcing/core/tensor.hpp"

namespace df::drawing {

// x to the right and y downwards, in pixels.
struct Point {
  double x = 0.0, y = 0.0;
};

// What a colour is for. In SVG all but `fixed` have a light and a dark shade, and the reader's browser chooses.
struct Paint {
  enum class Role { none, text, quiet, rule, grid, paper, series, fixed };
  Role role = Role::none;
  int64_t series = 0;               // of Role::series: colours that colour-blind people tell apart; they repeat after 8
  std::array<uint8_t, 3> rgb = {};  // of Role::fixed
};
// The colour of series `number`, which has a light and a dark shade.
inline Paint series_paint(int64_t number) { return {Paint::Role::series, number, {}}; }
// One colour, the same in the light and in the dark.
inline Paint fixed_paint(std::array<uint8_t, 3> rgb) { return {Paint::Role::fixed, 0, rgb}; }
// The colour of a role, such as text or grid.
inline Paint role_paint(Paint::Role role) { return {role, 0, {}}; }

// Through all points, with round ends. One point alone is a dot of diameter `width`.
struct Line {
  std::vector<Point> points;
  Paint paint;
  double width = 1.0;
  bool dashed = false;
};
// A filled polygon. Without paint it is not seen, but can still say something when the pointer is over it.
struct Area {
  std::vector<Point> corners;
  Paint paint;
  double opacity = 1.0;
};
// A rectangle from its upper left corner.
Area box(double x, double y, double width, double height, Paint paint, double opacity = 1.0);

enum class Anchor { start, middle, end };
// One line of words. PNG files have ASCII only: other letters become '?' there.
struct Words {
  std::string text;
  Point at;  // on the baseline
  double size = 12.0;
  Anchor anchor = Anchor::start;
  bool bold = false;
  Paint paint = {Paint::Role::text, 0, {}};
  std::string link;  // of SVG: where a click on the words leads; empty: nowhere
};
// How wide words of this size are, roughly: fonts differ.
double words_width(const std::string& text, double size);

// One thing that is drawn.
struct Mark {
  std::variant<Line, Area, Words> shape;
  std::string hover;     // shown when the pointer is over the mark; empty: nothing. SVG only
  int64_t together = 0;  // neighbouring marks of the same number other than 0 light up together
};

// What programs that read a page aloud say of a picture.
struct Description {
  std::string title, details;
};

// Everything that is drawn, in order, and the size of the picture.
struct Scene {
  double width = 0.0, height = 0.0;
  Description description;
  std::vector<Mark> marks;  // later ones lie above earlier ones
  void add(std::variant<Line, Area, Words> shape, std::string hover = "", int64_t together = 0);
  // All marks of another scene, with its upper left corner at (x, y).
  void place(const Scene& other, double x, double y);
};
// Scenes beside and below each other, row by row.
Scene arrange(const std::vector<Scene>& scenes, int64_t columns);

// An <svg> element for a page, which brings the colours (page.hpp).
std::string inline_svg(const Scene& scene);
// A whole file with its own colours, light and dark.
std::string svg_file(const Scene& scene);
// On white, enlarged `scale` times: uint8 [3, H, W]. Needs libdiffusion_forcing_media.
Tensor paint(const Scene& scene, double scale = 1.0);
// By the name's ending, .svg or .png (which needs libdiffusion_forcing_media). Throws df::Error for another.
void write_picture(const std::filesystem::path& path, const Scene& scene);

}  // namespace df::drawing
