// SPDX-License-Identifier: MIT
// Rectangles of images, with a border or without, in shared memory: of each pixel C channels, 16 bytes at a time in an order in which
// eight neighbours of a row lie in different banks.
#pragma once

#include <cuda_bf16.h>

#include "cuda/async_copy.cuh"

namespace df::cuda {

// Bytes from the start of a row of pixels to channels 8 `part` to 8 `part` + 7 of pixel x.
template <int C>
__device__ inline unsigned place_of(int x, int part) {
  static_assert(C == 16 || C == 32 || C == 48 || C == 64);
  return static_cast<unsigned>(x * C * 2 + (part ^ (C == 64 ? x & 7 : C == 32 ? x >> 1 & 3 : x >> 2 & 1)) * 16);
}
// The place of part 2 `two` + p from that of part p, p being 0 or 1 or, of 48 channels, any; or its address, where rows start at multiples
// of 128 bytes.
template <int C>
__device__ inline unsigned further_parts(unsigned place, int two) {
  return C == 48 ? place + 32 * two : place ^ 32 * two;
}

// Images [count, height, width, row], row channels apart from pixel to pixel.
struct Images {
  const __nv_bfloat16* data;
  int count, height, width, row;
};

// `images` rectangles of `height` x `width` pixels, each with a border of `above` rows above and below and of `beside` columns on each
// side.
template <int C, int images, int height, int width, int above, int beside>
struct ImageTile {
  static constexpr int rows = height + 2 * above, columns = width + 2 * beside, row_bytes = columns * C * 2;
  static constexpr int bytes = images * rows * row_bytes;

  // Starts the copy of channels `channel` to `channel` + C - 1 of the rectangle at (y, x), without the border, of image `image` and those
  // after it. Zeros beyond the images. A warp takes a row at a time.
  template <int warps>
  static __device__ inline void load(unsigned to, const Images& from, int image, int y, int x, int channel) {
    constexpr int parts = C / 8, passes = (columns * parts + 31) / 32;
    unsigned places[passes];
    int sources[passes];
    bool inside[passes];
#pragma unroll
    for (int pass = 0; pass < passes; ++pass) {
      const int i = threadIdx.x % 32 + 32 * pass, column = i / parts, part = i % parts, u = x - beside + column;
      places[pass] = place_of<C>(column, part);
      sources[pass] = u * from.row + channel + 8 * part;
      inside[pass] = u >= 0 && u < from.width;
    }
    for (int r = threadIdx.x / 32; r < images * rows; r += warps) {
      const int n = image + r / rows, v = y - above + r % rows;
      const bool row_inside = n < from.count && v >= 0 && v < from.height;
      const __nv_bfloat16* row = from.data + (row_inside ? static_cast<size_t>(n * from.height + v) * from.width * from.row : 0);
#pragma unroll
      for (int pass = 0; pass < passes; ++pass) {
        const bool there = row_inside && inside[pass];
        if (columns * parts % 32 == 0 || pass + 1 < passes || threadIdx.x % 32 < columns * parts % 32)
          copy_async(to + r * row_bytes + places[pass], row + (there ? sources[pass] : 0), there);
      }
    }
  }
};

}  // namespace df::cuda
