// SPDX-License-Identifier: MIT
// Products of bfloat16 matrices in shared memory that a warpgroup, four warps, starts and waits for, with float32 sums in its registers
// (wgmma of the PTX manual; Hopper alone).
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace df::cuda {

// What this thread has copied to shared memory and knows to be there can then be multiplied, after the next barrier.
__device__ inline void show_to_products() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// A matrix of 8 x 8 blocks in shared memory, each 128 bytes from a multiple of 16 on, of eight rows of 16 bytes: what a row of a block
// has is eight values of the dimension that lies innermost. Bytes from a block to the next of the dimension that is summed over, and to
// the next of the other.
__device__ inline uint64_t matrix_blocks(unsigned address, unsigned along_sum, unsigned along_other) {
  return static_cast<uint64_t>(along_other >> 4) << 32 | (along_sum >> 4) << 16 | (address & 0x3ffff) >> 4;
}
// The same, further on.
__device__ inline uint64_t further(uint64_t blocks, unsigned bytes) { return blocks + (bytes >> 4); }

// The same in all lanes of a warp, and known to be.
__device__ inline int uniform(int x) { return __shfl_sync(0xffffffffu, x, 0); }

// Before the first product with sums that the thread has written.
__device__ inline void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void end_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Until all are done, and the sums can be read.
template <int tiles, int eights>
__device__ inline void wait_for_products(float (&sum)[tiles][eights][4]) {
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
#pragma unroll
  for (int i = 0; i < tiles; ++i)
#pragma unroll
    for (int j = 0; j < eights; ++j)
#pragma unroll
      for (int k = 0; k < 4; ++k) asm volatile("" : "+f"(sum[i][j][k])::"memory");
}

// The same of products with rows `a`, which may not be overwritten before.
template <int tiles, int eights, int steps>
__device__ inline void wait_for_products(float (&sum)[tiles][eights][4], const unsigned (&a)[steps][4]) {
  wait_for_products(sum);
#pragma unroll
  for (int i = 0; i < steps; ++i) asm volatile("" ::"r"(a[i][0]), "r"(a[i][1]), "r"(a[i][2]), "r"(a[i][3]));
}

// Starts sum [64][N] += a [64][16] b [16][N]. flipped_a, flipped_b: the rows of blocks have values of the dimension that is not summed
// over. Warp w, lane 4 g + t: sum[j] is columns 8 j + 2 t and 8 j + 2 t + 1 of row 16 w + g, then of row 16 w + g + 8. Or of a columns 2 t
// and 2 t + 1, then 2 t + 8 and 2 t + 9, each of the rows g and g + 8 of the warp; that stays as it is until the products are done.
#define DF_SUMS(j) "+f"(sum[j][0]), "+f"(sum[j][1]), "+f"(sum[j][2]), "+f"(sum[j][3])
#define DF_SUMS_16 DF_SUMS(0), DF_SUMS(1)
#define DF_SUMS_32 DF_SUMS_16, DF_SUMS(2), DF_SUMS(3)
#define DF_SUMS_48 DF_SUMS_32, DF_SUMS(4), DF_SUMS(5)
#define DF_NAMES_16 "%0, %1, %2, %3, %4, %5, %6, %7"
#define DF_NAMES_32 DF_NAMES_16 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define DF_NAMES_48 DF_NAMES_32 ", %16, %17, %18, %19, %20, %21, %22, %23"
#define DF_PRODUCT(N) \
  "{\n.reg .pred add;\nsetp.eq.u32 add, 0, 0;\nwgmma.mma_async.sync.aligned.m64n" #N "k16.f32.bf16.bf16 {" DF_NAMES_##N "}, "
// The last are the numbers of the operands after the sums.
#define DF_MULTIPLY(N, a_name, b_name, flip_a, flip_b)                                                \
  template <bool flipped_a, bool flipped_b>                                                           \
  __device__ inline void multiply_add(float(&sum)[N / 8][4], uint64_t a, uint64_t b) {                \
    asm volatile(DF_PRODUCT(N) a_name ", " b_name ", add, 1, 1, " flip_a ", " flip_b ";\n}"           \
                 : DF_SUMS_##N                                                                        \
                 : "l"(a), "l"(b), "n"(static_cast<int>(flipped_a)), "n"(static_cast<int>(flipped_b)) \
                 : "memory");                                                                         \
  }
#define DF_MULTIPLY_REGISTERS(N, a0, a1, a2, a3, b_name, flip_b)                                         \
  template <bool flipped_b>                                                                              \
  __device__ inline void multiply_add(float(&sum)[N / 8][4], const unsigned(&a)[4], uint64_t b) {        \
    asm volatile(DF_PRODUCT(N) "{" a0 ", " a1 ", " a2 ", " a3 "}, " b_name ", add, 1, 1, " flip_b ";\n}" \
                 : DF_SUMS_##N                                                                           \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(static_cast<int>(flipped_b))  \
                 : "memory");                                                                            \
  }
DF_MULTIPLY(16, "%8", "%9", "%10", "%11")
DF_MULTIPLY(48, "%24", "%25", "%26", "%27")
DF_MULTIPLY_REGISTERS(16, "%8", "%9", "%10", "%11", "%12", "%13")
DF_MULTIPLY_REGISTERS(32, "%16", "%17", "%18", "%19", "%20", "%21")
DF_MULTIPLY_REGISTERS(48, "%24", "%25", "%26", "%27", "%28", "%29")
#undef DF_MULTIPLY_REGISTERS
#undef DF_MULTIPLY
#undef DF_PRODUCT
#undef DF_NAMES_48
#undef DF_NAMES_32
#undef DF_NAMES_16
#undef DF_SUMS_48
#undef DF_SUMS_32
#undef DF_SUMS_16
#undef DF_SUMS

}  // namespace df::cuda
