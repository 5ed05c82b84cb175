// SPDX-License-Identifier: MIT
// What the districts look like: walls as summed-area tables, which give the exact mean over any rectangle, and floor colours.
#pragma once

#include <array>
#include <cstdint>

namespace df {

using Colour = float __attribute__((vector_size(16)));  // red, green, blue and coverage, the latter 1 inside a wall

inline Colour grey(float value, float coverage = 1) { return Colour{value, value, value, coverage}; }

// One side of a block. u runs along the wall, v downwards, both 0..1.
class WallTexture {
 public:
  static constexpr int64_t texels = 48;
  // The integral over [0, u] x [0, v] at the texel borders, in units of the whole side; [u][v].
  std::array<std::array<Colour, texels + 1>, texels + 1> sum;
};

struct DistrictStyle {
  WallTexture wall;
  Colour floor, floor_alternate;  // the squares of the floor take turns
};

constexpr int64_t max_districts = 5;
const DistrictStyle& district_style(int64_t district, bool textured);

}  // namespace df
