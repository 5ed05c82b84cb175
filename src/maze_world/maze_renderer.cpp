// SPDX-License-Identifier: MIT
#include "maze_world/maze_renderer.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "maze_world/maze_textures.hpp"

namespace df {

namespace {

constexpr float kWallHeight = 0.9f, kEyeHeight = 0.45f;  // blocks
constexpr float kFarthest = 64.0f;

struct Camera {
  float x, y;                  // blocks
  float forward_x, forward_y;  // unit vector
  float right_x, right_y;      // unit vector
  float focal;                 // pixels: 90 degrees across the width
};

struct Hit {
  float depth;        // along the view
  float u;            // 0..1 along the wall
  float u_per_slope;  // change of u with the slope of the ray
  float light;        // of the side of the block
  int64_t district;   // of the block in front
  int64_t face;       // equal where rays meet the same side of the same block
};

// Walks the grid from border to border along forward + slope * right until a wall is met.
Hit cast(const MazeLayout& layout, const Camera& camera, float slope) {
  const float dx = camera.forward_x + slope * camera.right_x, dy = camera.forward_y + slope * camera.right_y;
  int64_t column = static_cast<int64_t>(std::floor(camera.x)), row = static_cast<int64_t>(std::floor(camera.y));
  const int64_t step_x = dx < 0 ? -1 : 1, step_y = dy < 0 ? -1 : 1;
  const float per_column = std::fabs(dx) > 1e-6f ? 1 / std::fabs(dx) : 1e6f, per_row = std::fabs(dy) > 1e-6f ? 1 / std::fabs(dy) : 1e6f;
  float to_column = per_column * (dx < 0 ? camera.x - static_cast<float>(column) : static_cast<float>(column + 1) - camera.x);
  float to_row = per_row * (dy < 0 ? camera.y - static_cast<float>(row) : static_cast<float>(row + 1) - camera.y);
  while (true) {
    const bool across = to_column < to_row;
    const float depth = across ? to_column : to_row;
    const int64_t next_column = column + (across ? step_x : 0), next_row = row + (across ? 0 : step_y);
    if (layout.wall(next_column, next_row) || depth > kFarthest) {
      const float along = across ? camera.y + depth * dy : camera.x + depth * dx;
      const float u_per_slope = depth * (across ? camera.right_y - dy / dx * camera.right_x : camera.right_x - dx / dy * camera.right_y);
      const float light = across ? (step_x > 0 ? 1.0f : 0.92f) : (step_y > 0 ? 0.80f : 0.72f);
      const int64_t face = (next_row * layout.side() + next_column) * 2 + across;  // the other two sides are never seen from here
      return {std::max(depth, 1e-3f), along - std::floor(along), std::fabs(u_per_slope), light, layout.district(column, row), face};
    }
    (across ? to_column : to_row) += across ? per_column : per_row;
    column = next_column;
    row = next_row;
  }
}

float light_at(float depth) { return 1.0f - 0.3f * depth / (depth + 4.0f); }

// The part of a wall that lies between two borders of u, integrated from the top down to v.
class Strip {
 public:
  Strip(const WallTexture& texture, float u0, float u1) {
    place(texture, u0, left_, left_part_);
    place(texture, u1, right_, right_part_);
  }
  Colour down_to(float v) {
    const float at = v * WallTexture::texels;
    const int64_t row = std::min(static_cast<int64_t>(at), WallTexture::texels - 1);
    if (row != row_) row_ = row, above_ = border(row), step_ = border(row + 1) - above_;
    return above_ + step_ * (at - static_cast<float>(row));
  }

 private:
  using Column = const Colour*;
  static void place(const WallTexture& texture, float u, Column& column, float& part) {
    const float at = u * WallTexture::texels;
    const int64_t i = std::min(static_cast<int64_t>(at), WallTexture::texels - 1);
    column = texture.sum[static_cast<size_t>(i)].data();
    part = at - static_cast<float>(i);
  }
  static Colour between(Column column, float part, int64_t row) {
    const Colour next = column[WallTexture::texels + 1 + row];
    return column[row] + (next - column[row]) * part;
  }
  Colour border(int64_t row) const { return between(right_, right_part_, row) - between(left_, left_part_, row); }

  Column left_, right_;
  float left_part_, right_part_;
  int64_t row_ = -1;
  Colour above_{}, step_{};
};

// Adds a wall to a pixel column, `share` of its width; the fourth number collects how much of each pixel is covered.
void add_wall(const Hit& hit, const WallTexture& texture, float focal, float slope_width, float share, std::vector<Colour>& pixels) {
  const float height = static_cast<float>(pixels.size());
  const float scale = focal / hit.depth;  // pixels per block
  const float top = height / 2 - (kWallHeight - kEyeHeight) * scale, bottom = height / 2 + kEyeHeight * scale;
  const float half = std::max(hit.u_per_slope * slope_width / 2, 0.5f / WallTexture::texels);
  const float u0 = std::max(hit.u - half, 0.0f), u1 = std::min(hit.u + half, 1.0f);
  const float light = hit.light * light_at(hit.depth), per_pixel = 1 / (bottom - top);
  const Colour weight = Colour{light, light, light, 1} * (share / ((u1 - u0) * per_pixel));
  const int64_t first = std::max<int64_t>(static_cast<int64_t>(std::floor(top)), 0);
  const int64_t last = std::min<int64_t>(static_cast<int64_t>(std::ceil(bottom)), static_cast<int64_t>(pixels.size()));
  Strip strip(texture, u0, u1);
  Colour above = strip.down_to(std::clamp((static_cast<float>(first) - top) * per_pixel, 0.0f, 1.0f));
  for (int64_t y = first; y < last; ++y) {
    const Colour below = strip.down_to(std::clamp((static_cast<float>(y + 1) - top) * per_pixel, 0.0f, 1.0f));
    pixels[static_cast<size_t>(y)] += (below - above) * weight;
    above = below;
  }
}

// The floor as squares, one a block, that meet in a ramp as wide as a pixel's view of the floor.
class Floor {
 public:
  Floor(const MazeLayout& layout, bool textured) : layout_(layout), textured_(textured) {}
  Colour at(float x, float y, float width) const {
    const float column = std::floor(x), row = std::floor(y);
    const Colour here = square(static_cast<int64_t>(column), static_cast<int64_t>(row));
    const float to_x = x - column - 0.5f, to_y = y - row - 0.5f;  // -0.5 .. 0.5 from the middle of the block
    const float share_x = std::max(beyond(to_x, width), 0.0f), share_y = std::max(beyond(to_y, width), 0.0f);
    if (share_x <= 0 && share_y <= 0) return here;
    const int64_t i = static_cast<int64_t>(column), j = static_cast<int64_t>(row);
    const int64_t next_i = i + (to_x < 0 ? -1 : 1), next_j = j + (to_y < 0 ? -1 : 1);
    const Colour side = next(here, next_i, j), ahead = next(here, i, next_j), corner = next(here, next_i, next_j);
    const Colour near = here + (side - here) * share_x;
    return near + (ahead + (corner - ahead) * share_x - near) * share_y;
  }

 private:
  static float beyond(float from_middle, float width) { return 0.5f - (0.5f - std::fabs(from_middle)) / width; }
  Colour square(int64_t column, int64_t row) const {
    const DistrictStyle& style = district_style(layout_.district(column, row), textured_);
    return (column + row) % 2 == 0 ? style.floor : style.floor_alternate;
  }
  // There is no floor under walls.
  Colour next(const Colour& here, int64_t column, int64_t row) const { return layout_.wall(column, row) ? here : square(column, row); }

  const MazeLayout& layout_;
  bool textured_;
};

Colour sky_at(float share) {  // 0 at the top, 1 at the horizon
  const Colour top{0.50f, 0.82f, 1.0f, 1}, horizon{0.68f, 0.92f, 1.0f, 1};
  return top + (horizon - top) * share;
}

class Renderer {
 public:
  Renderer(const MazeLayout& layout, bool textured, const Pose& pose, int64_t height, int64_t width)
      : layout_(layout),
        floor_(layout, textured),
        textured_(textured),
        height_(height),
        width_(width),
        pixels_(static_cast<size_t>(height)) {
    const float c = std::cos(pose.heading), s = std::sin(pose.heading);
    camera_ = {pose.x, pose.y, c, s, s, -c, static_cast<float>(width) / 2};
  }

  void draw(float* out) {
    for (int64_t i = 0; i < width_; ++i) {
      std::fill(pixels_.begin(), pixels_.end(), Colour{});
      const float farthest = draw_walls(i);
      draw_behind(i, farthest);
      for (int64_t j = 0; j < height_; ++j)
        for (int64_t channel = 0; channel < 3; ++channel)
          out[(channel * height_ + j) * width_ + i] = std::clamp(pixels_[static_cast<size_t>(j)][channel], 0.0f, 1.0f);
    }
  }

 private:
  // One ray near each side of the pixel column tells whether it shows a single piece of wall; else there are four.
  float draw_walls(int64_t i) {
    constexpr int64_t rays = 4;
    const float pixel = 2 / static_cast<float>(width_), part = pixel / rays;
    const auto hit_at = [&](int64_t ray) { return cast(layout_, camera_, (static_cast<float>(i * rays + ray) + 0.5f) * part - 1); };
    Hit hits[rays] = {hit_at(0), {}, {}, hit_at(rays - 1)};
    const Hit &left = hits[0], &right = hits[rays - 1];
    const float rise = kEyeHeight * camera_.focal * std::fabs(1 / left.depth - 1 / right.depth);  // of the wall's edges, in pixels
    if (left.face == right.face && left.district == right.district && rise < 0.6f) {
      Hit middle = left;
      middle.depth = 2 / (1 / left.depth + 1 / right.depth);
      middle.u = (left.u + right.u) / 2;
      middle.u_per_slope = (left.u_per_slope + right.u_per_slope) / 2;
      add(middle, pixel, 1);
      return middle.depth;
    }
    float farthest = 0;
    for (int64_t ray = 0; ray < rays; ++ray) {
      if (ray > 0 && ray < rays - 1) hits[ray] = hit_at(ray);
      add(hits[ray], part, 1.0f / rays);
      farthest = std::max(farthest, hits[ray].depth);
    }
    return farthest;
  }

  void add(const Hit& hit, float slope_width, float share) {
    add_wall(hit, district_style(hit.district, textured_).wall, camera_.focal, slope_width, share, pixels_);
  }

  void draw_behind(int64_t i, float farthest) {
    const float slope = (static_cast<float>(i) + 0.5f) / camera_.focal - 1, middle = static_cast<float>(height_) / 2;
    const float dx = camera_.forward_x + slope * camera_.right_x, dy = camera_.forward_y + slope * camera_.right_y;
    for (int64_t j = 0; j < height_; ++j) {
      Colour& pixel = pixels_[static_cast<size_t>(j)];
      if (pixel[3] >= 0.999f) continue;
      const float below = static_cast<float>(j) + 0.5f - middle;
      if (below > 0) {
        const float depth = std::min(kEyeHeight * camera_.focal / below, farthest * 0.999f);  // the floor ends at the wall
        pixel +=
            floor_.at(camera_.x + depth * dx, camera_.y + depth * dy, std::min(depth / below, 1.0f)) * light_at(depth) * (1 - pixel[3]);
      } else {
        pixel += sky_at(1 + below / middle) * (1 - pixel[3]);
      }
    }
  }

  const MazeLayout& layout_;
  Floor floor_;
  bool textured_;
  int64_t height_, width_;
  Camera camera_{};
  std::vector<Colour> pixels_;  // of the pixel column being drawn; the fourth number is how much of each is covered
};

}  // namespace

void render_maze(const MazeLayout& layout, bool textured, const Pose& pose, int64_t height, int64_t width, float* out) {
  Renderer(layout, textured, pose, height, width).draw(out);
}

}  // namespace df
