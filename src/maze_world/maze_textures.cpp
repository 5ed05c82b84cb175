// SPDX-License-Identifier: MIT
#include "maze_world/maze_textures.hpp"

#include <cmath>

namespace df {

namespace {

struct Paint {
  uint32_t base, mark;  // of the wall
  uint32_t flat;        // of the wall without texture
  uint32_t floor;
  bool (*marked)(float u, float v);  // where the wall shows `mark`
};

bool bricks(float u, float v) {
  const float row = std::floor(v * 3), brick = u + (row == 1 ? 0.5f : 0.0f);
  const float joint = 0.1f;
  return v * 3 - row < joint * 1.5f || brick - std::floor(brick) < joint;
}
bool hole(float u, float v) { return (u - 0.5f) * (u - 0.5f) + (v - 0.5f) * (v - 0.5f) < 0.3f * 0.3f; }
bool tiles(float u, float v) { return (u < 0.5f) != (v < 0.5f); }
bool planks(float u, float v) { return u * 2 - std::floor(u * 2) < 0.22f; }
bool stripes(float u, float v) { return v * 2 - std::floor(v * 2) < 0.5f; }

constexpr Paint kPaints[max_districts] = {
    {0xb24a36, 0xe6c9ae, 0xb8503c, 0x63b043, bricks},   // red bricks on grass
    {0xf0cc4a, 0x7d4f1f, 0xe8c040, 0x2f7fd0, hole},     // yellow walls with round holes at the water
    {0x7a58b8, 0xa98fe0, 0x8460c4, 0xe8893a, tiles},    // violet tiles on orange cobbles
    {0x23907c, 0x125548, 0x249482, 0xead998, planks},   // green planks in the sand
    {0xf2f2f2, 0xe0609c, 0xe8e4ea, 0x9a4f9c, stripes},  // white and pink stripes on purple
};

Colour colour(uint32_t rgb) {
  return Colour{static_cast<float>(rgb >> 16 & 255) / 255, static_cast<float>(rgb >> 8 & 255) / 255, static_cast<float>(rgb & 255) / 255,
                1};
}

WallTexture draw(const Paint& paint, bool textured) {
  constexpr int64_t n = WallTexture::texels, samples = 4;
  WallTexture texture;
  for (auto& column : texture.sum) column.fill(Colour{});
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) {
      Colour texel{};
      for (int64_t s = 0; s < samples * samples; ++s) {
        const float u = (static_cast<float>(i) + (static_cast<float>(s % samples) + 0.5f) / samples) / n;
        const float v = (static_cast<float>(j) + (static_cast<float>(s / samples) + 0.5f) / samples) / n;
        texel += colour(!textured ? paint.flat : paint.marked(u, v) ? paint.mark : paint.base);
      }
      texture.sum[i + 1][j + 1] =
          texture.sum[i + 1][j] + texture.sum[i][j + 1] - texture.sum[i][j] + texel / static_cast<float>(n * n * samples * samples);
    }
  return texture;
}

}  // namespace

const DistrictStyle& district_style(int64_t district, bool textured) {
  static const auto styles = [] {
    std::array<std::array<DistrictStyle, max_districts>, 2> all;
    for (size_t t = 0; t < 2; ++t)
      for (size_t d = 0; d < max_districts; ++d) {
        const Colour floor = colour(kPaints[d].floor);
        all[t][d] = {draw(kPaints[d], t == 1), floor, floor * grey(t == 1 ? 0.86f : 1.0f)};
      }
    return all;
  }();
  return styles[textured][static_cast<size_t>(district)];
}

}  // namespace df
