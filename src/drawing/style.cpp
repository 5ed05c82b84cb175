// SPDX-License-Identifier: MIT
#include "drawing/style.hpp"

#include <fmt/format.h>

namespace df::drawing {

namespace {

struct Shades {
  const char* name;
  Rgb light, dark;
};

// In the order of Paint::Role, from `text` on.
constexpr std::array<Shades, 5> roles{{{"text", {31, 35, 40}, {230, 234, 238}},
                                       {"quiet", {89, 99, 110}, {157, 167, 177}},
                                       {"rule", {120, 128, 137}, {125, 134, 144}},
                                       {"grid", {228, 231, 235}, {48, 54, 61}},
                                       {"paper", {255, 255, 255}, {18, 21, 25}}}};

// Okabe & Ito's colours, told apart by all kinds of colour vision; lighter on dark paper.
constexpr std::array<Shades, series_colours> series{{{"s0", {0, 114, 178}, {77, 163, 229}},
                                                     {"s1", {213, 94, 0}, {242, 132, 62}},
                                                     {"s2", {0, 158, 115}, {46, 194, 146}},
                                                     {"s3", {204, 121, 167}, {228, 150, 194}},
                                                     {"s4", {230, 159, 0}, {240, 184, 64}},
                                                     {"s5", {86, 180, 233}, {150, 214, 250}},
                                                     {"s6", {120, 120, 120}, {165, 165, 165}},
                                                     {"s7", {0, 0, 0}, {245, 245, 245}}}};

const Shades* shades_of(const Paint& paint) {
  if (paint.role == Paint::Role::none || paint.role == Paint::Role::fixed) return nullptr;
  if (paint.role == Paint::Role::series)
    return &series[static_cast<size_t>((paint.series % series_colours + series_colours) % series_colours)];
  return &roles[static_cast<size_t>(paint.role) - static_cast<size_t>(Paint::Role::text)];
}

}  // namespace

std::string style_name(const Paint& paint) {
  const Shades* shades = shades_of(paint);
  return shades ? shades->name : "";
}

Rgb light_shade(const Paint& paint) {
  const Shades* shades = shades_of(paint);
  return shades ? shades->light : paint.rgb;
}

std::string hexadecimal(const Rgb& rgb) { return fmt::format("#{:02x}{:02x}{:02x}", rgb[0], rgb[1], rgb[2]); }

std::string colour_styles() {
  std::string light, dark, classes;
  const auto add = [&](const Shades& shades) {
    light += fmt::format("--{}:{};", shades.name, hexadecimal(shades.light));
    dark += fmt::format("--{}:{};", shades.name, hexadecimal(shades.dark));
    classes += fmt::format(".f-{0}{{fill:var(--{0})}}.l-{0}{{stroke:var(--{0})}}", shades.name);
  };
  for (const Shades& shades : roles) add(shades);
  for (const Shades& shades : series) add(shades);
  return fmt::format(
      ":root{{color-scheme:light dark;{}}}\n@media(prefers-color-scheme:dark){{:root{{{}}}}}\n{}\n"
      ".hover:hover,.together:hover .hover{{stroke:var(--text);stroke-width:1.5}}.unseen:hover{{stroke:none;fill:var(--text);"
      "fill-opacity:.09}}\n",
      light, dark, classes);
}

}  // namespace df::drawing
