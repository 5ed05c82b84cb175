// SPDX-License-Identifier: MIT
// The colours of pages and pictures, and how they are named in style sheets.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "diffusion_forcing/drawing/scene.hpp"

namespace df::drawing {

using Rgb = std::array<uint8_t, 3>;

constexpr int64_t series_colours = 8;

// Name of the paint in style sheets: "text", "s0". Empty for none and for fixed colours.
std::string style_name(const Paint& paint);
// The shade on white; what PNG files have, and programs that do not read style sheets.
Rgb light_shade(const Paint& paint);
std::string hexadecimal(const Rgb& rgb);  // "#0072b2"

// Variables of both shades, and the classes "f-NAME" and "l-NAME" that fill and draw with them.
std::string colour_styles();

}  // namespace df::drawing
