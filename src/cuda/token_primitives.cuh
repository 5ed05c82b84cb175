// SPDX-License-Identifier: MIT
// The instructions that kernels of waiting blocks are made of: matrix products of a warp, loads that other blocks' writes reach, and a
// counter that a group of blocks waits at.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

namespace df::cuda {

// Read anew each time: what is computed from it is not kept in registers from layer to layer, of which there are too few for all kinds.
__device__ inline int fresh_thread_index() {
  int index;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(index));
  return index;
}
__device__ inline void synchronize_block() { __syncthreads(); }

// Eight numbers that nobody writes while the kernel runs. Volatile: they are to be on their way before the wait that follows.
__device__ inline uint4 load_constant(const __nv_bfloat16* from) {
  uint4 v;
  asm volatile("ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(from));
  return v;
}
// Numbers that other blocks may have written: from L2, never from the L1 cache of this multiprocessor. Volatile: all of a step's loads are
// to be on their way before the products that use them.
__device__ inline uint4 load_shared(const __nv_bfloat16* from) {
  uint4 v;
  asm volatile("ld.global.cg.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(from) : "memory");
  return v;
}
__device__ inline unsigned short load_shared_bits(const __nv_bfloat16* from) {
  return __ldcg(reinterpret_cast<const unsigned short*>(from));
}
__device__ inline float number(unsigned short bits) { return __uint_as_float(static_cast<unsigned>(bits) << 16); }

// Keeps the compiler from starting on products between the loads before it: the first would wait, and the loads after it with it.
__device__ inline void all_on_their_way() { __syncwarp(); }

// sums [16][8] += a [16][16] b [16][8]. With row = lane / 4 and pair = lane % 4 a thread holds of a, two numbers each: (row, pair),
// (row + 8, pair), (row, pair + 4), (row + 8, pair + 4); of b: (pair, row), (pair + 4, row); of the sums (row, 2 pair + 0, 1), (row + 8,
// ..).
__device__ inline void multiply(float (&sums)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0, unsigned b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
               : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// What the block has written is there for blocks that have waited for its arrival.
__device__ inline void arrive(unsigned* counter) {
  __syncthreads();
  if (threadIdx.x == 0) asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(counter) : "memory");
}
__device__ inline void wait_for(unsigned* counter, unsigned arrivals) {
  if (threadIdx.x == 0) {
    unsigned seen = 0, polls = 0;
    do {
      asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(counter) : "memory");
      if (++polls == 1u << 24) __trap();  // seconds: an error rather than a device that hangs
    } while (seen < arrivals);
  }
  __syncthreads();
}

}  // namespace df::cuda
