// SPDX-License-Identifier: MIT
// Products of bfloat16 matrices that a warp keeps in registers, with float32 sums (mma.m16n8k16 of the PTX manual). Lane 4 g + t is lane
// t of group g. Which of 32 channels a row or column of a product stands for is ours to choose; here a lane's channels lie side by side
// in memory.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

namespace df::cuda {

constexpr unsigned whole_warp = 0xffffffffu;

__device__ inline int lane_group() { return threadIdx.x % 32 / 4; }
__device__ inline int lane_place() { return threadIdx.x % 4; }

// Two bfloat16 in a register.
__device__ inline unsigned pack(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const unsigned*>(&pair);
}
__device__ inline float low_of(unsigned pair) { return __uint_as_float(pair << 16); }
__device__ inline float high_of(unsigned pair) { return __uint_as_float(pair & 0xffff0000u); }
__device__ inline unsigned larger(unsigned a, unsigned b) {
  const __nv_bfloat162 pair = __hmax2(*reinterpret_cast<const __nv_bfloat162*>(&a), *reinterpret_cast<const __nv_bfloat162*>(&b));
  return *reinterpret_cast<const unsigned*>(&pair);
}

// Of the four lanes of a group.
__device__ inline float group_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(whole_warp, x, 1));
  return fmaxf(x, __shfl_xor_sync(whole_warp, x, 2));
}
__device__ inline float group_sum(float x) {
  x += __shfl_xor_sync(whole_warp, x, 1);
  return x + __shfl_xor_sync(whole_warp, x, 2);
}

// c [16][8] += a [16][16] b [16][8].
// a: rows g, g + 8, g, g + 8 of columns 2t and 2t + 1 (the first two) or 2t + 8 and 2t + 9. b: rows 2t, 2t + 1, then 2t + 8, 2t + 9, of
// column g. c: columns 2t, 2t + 1 of row g, then of row g + 8.
__device__ inline void multiply_add(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// From columns 2t, 2t + 1 of row g of an 8 x 8 matrix to those of its transpose.
__device__ inline unsigned transposed(unsigned x) {
  unsigned y;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(y) : "r"(x));
  return y;
}

// 32 channels of 16 pixels: a lane has channels 8t to 8t + 7, in pairs, of pixels g and g + 8.
struct Pixels {
  unsigned pair[2][4];
};

// A 32 x 32 matrix that pixels are multiplied by.
struct ChannelMap {
  unsigned pair[2][4][2];  // [channels in, 4 of a lane's 8][channels out, by twos][pairs of the four]

  // From float32 [in][out], or [out][in] where `flipped`.
  __device__ inline void load(const float* from, bool flipped) {
    const int out = 8 * (lane_group() / 2) + lane_group() % 2;
#pragma unroll
    for (int k = 0; k < 2; ++k)
#pragma unroll
      for (int j = 0; j < 4; ++j)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int in = 8 * lane_place() + 4 * k + 2 * half, o = out + 2 * j;
          const float2 two =
              flipped ? *reinterpret_cast<const float2*>(from + o * 32 + in) : float2{from[in * 32 + o], from[in * 32 + 32 + o]};
          pair[k][j][half] = pack(two.x, two.y);
        }
  }
};

// out[p][i]: channel 8t + i of pixel g + 8p.
__device__ inline void multiply(float (&out)[2][8], const Pixels& x, const ChannelMap& map) {
  float sum[4][4] = {};
#pragma unroll
  for (int k = 0; k < 2; ++k) {
    const unsigned a[4] = {x.pair[0][2 * k], x.pair[1][2 * k], x.pair[0][2 * k + 1], x.pair[1][2 * k + 1]};
#pragma unroll
    for (int j = 0; j < 4; ++j) multiply_add(sum[j], a, map.pair[k][j][0], map.pair[k][j][1]);
  }
#pragma unroll
  for (int p = 0; p < 2; ++p)
#pragma unroll
    for (int i = 0; i < 8; ++i) out[p][i] = sum[i / 2][2 * p + i % 2];
}

// sum += a^T b over the 16 pixels. sum[i][j]: columns 8t + 2j and 8t + 2j + 1 of row r, then of row r + 2, r = 8 (g / 2) + g % 2 + 4i.
__device__ inline void add_products(float (&sum)[2][4][4], const Pixels& a, const Pixels& b) {
  unsigned left[2][4];
#pragma unroll
  for (int i = 0; i < 2; ++i)
#pragma unroll
    for (int part = 0; part < 4; ++part) left[i][part] = transposed(a.pair[part / 2][2 * i + part % 2]);
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const unsigned b0 = transposed(b.pair[0][j]), b1 = transposed(b.pair[1][j]);
#pragma unroll
    for (int i = 0; i < 2; ++i) multiply_add(sum[i][j], left[i], b0, b1);
  }
}

}  // namespace df::cuda
