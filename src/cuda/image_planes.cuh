// SPDX-License-Identifier: MIT
// Rectangles of images with a border in shared memory, eight channels of all their pixels after the other: what products of a warpgroup
// take from any pixel on (cuda/warpgroup_matrix.cuh).
#pragma once

#include <cuda_bf16.h>

#include <cstddef>

#include "cuda/shared_memory.cuh"
#include "cuda/vector.cuh"

namespace df::cuda {

// Images [count, height, width, row], row channels apart from pixel to pixel.
struct Images {
  const __nv_bfloat16* data;
  int count, height, width, row;
};

// `images` rectangles of `height` x `width` pixels, each with a border of `above` rows above and below and of `beside` columns on each
// side, of which C channels.
template <int C, int images, int height, int width, int above, int beside>
struct ImagePlanes {
  static_assert(C == 16 || C == 32 || C == 48 || C == 64);
  static constexpr int rows = height + 2 * above, all_rows = images * rows, columns = width + 2 * beside, row_bytes = columns * 16;
  // So that of eight neighbours in memory as few as can be come to the same banks.
  static constexpr int bank = C == 64 ? 16 : C == 16 ? 64 : 32;
  static constexpr int plane_bytes = all_rows * row_bytes + (bank + 128 - all_rows * row_bytes % 128) % 128;
  static constexpr int bytes = C / 8 * plane_bytes;

  // Channels `channel` to `channel` + C - 1 of the rectangle at (y, x), without the border, of image `image` and those after it, on their
  // way to shared memory; zeros beyond the images. Each of `warps` warps takes every so many rows. By way of registers: cp.async asks for
  // each half of a sector that goes to another place.
  template <int warps>
  struct Copy {
    static constexpr int parts = C / 8, pieces = columns * parts, passes = (pieces + 31) / 32, turns = (all_rows + warps - 1) / warps;
    uint4 value[turns][passes];

    __device__ inline void fetch(const Images& from, int warp, int image, int y, int x, int channel) {
      const int lane = fresh_lane();
      int source[passes];
      bool inside[passes];
#pragma unroll
      for (int pass = 0; pass < passes; ++pass) {
        const int i = lane + 32 * pass, u = x - beside + i / parts;
        source[pass] = u * from.row + channel + 8 * (i % parts);
        inside[pass] = i < pieces && u >= 0 && u < from.width;
      }
#pragma unroll
      for (int turn = 0; turn < turns; ++turn) {
        const int r = warp + turn * warps, n = image + r / rows, v = y - above + r % rows;
        const bool row_inside = r < all_rows && n < from.count && v >= 0 && v < from.height;
        const __nv_bfloat16* row = from.data + static_cast<ptrdiff_t>(n * from.height + v) * from.width * from.row;
#pragma unroll
        for (int pass = 0; pass < passes; ++pass)
          value[turn][pass] = row_inside && inside[pass] ? load_packed(row + source[pass]) : uint4{};
      }
    }
    __device__ inline void store(unsigned to, int warp) const {
      const int lane = fresh_lane();
      unsigned place[passes];
#pragma unroll
      for (int pass = 0; pass < passes; ++pass) {
        const int i = lane + 32 * pass;
        place[pass] = to + warp * row_bytes + i % parts * plane_bytes + i / parts * 16;
      }
#pragma unroll
      for (int turn = 0; turn < turns; ++turn)
#pragma unroll
        for (int pass = 0; pass < passes; ++pass)
          if (warp + turn * warps < all_rows && (pieces % 32 == 0 || pass + 1 < passes || lane < pieces % 32))
            store_shared(place[pass] + turn * warps * row_bytes, value[turn][pass]);
    }

   private:
    // What follows from it is worked out for each rectangle, not kept in registers meanwhile.
    static __device__ inline int fresh_lane() {
      int lane = threadIdx.x % 32;
      asm volatile("" : "+r"(lane));
      return lane;
    }
  };
};

}  // namespace df::cuda
