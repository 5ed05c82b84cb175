// SPDX-License-Identifier: MIT
// What the kernels of linear attention share: where a warp works, how its pixels come and go, how blocks add up what they found.
#pragma once

#include <cooperative_groups.h>
#include <cuda_bf16.h>

#include "cuda/async_copy.cuh"
#include "cuda/linear_attention.cuh"
#include "cuda/warp_matrix.cuh"

namespace df::cuda {

namespace cg = cooperative_groups;

using bf16 = __nv_bfloat16;

constexpr int attention_warps = 8, attention_threads = 32 * attention_warps, D = 32;
constexpr int attention_step = 8 * attention_warps;  // pixels between two of a warp's turns
constexpr int attention_stages = 3;                  // turns in shared memory: the one that is worked on and those that are on their way

// Two warps work on the same pixels of two heads that lie side by side in memory: together they read and write lines of 128 bytes.
struct Place {
  int heads, mine;      // of the block's two heads those that there are; which of the two is this warp's
  int pixel, end, row;  // first pixel of the warp and end of the chunk; elements between pixels of qkv
  size_t first;         // element of qkv: pixel 0, channel 0 of the first head's q
  size_t out;           // the same of images [P][heads][32]
  size_t head;          // n * heads + h of the first head
  __device__ Place(const LinearAttentionShape& s) {
    const int h = 2 * blockIdx.x, warp = threadIdx.x / 32;
    heads = min(2, s.heads - h);
    mine = warp % 2;
    pixel = blockIdx.y * s.chunk + warp / 2 * 16;
    end = min(static_cast<int>(blockIdx.y + 1) * s.chunk, s.pixels);
    row = 3 * s.heads * D;
    const size_t image = static_cast<size_t>(blockIdx.z) * s.pixels;
    first = image * row + h * D;
    out = image * s.heads * D + h * D;
    head = static_cast<size_t>(blockIdx.z) * s.heads + h;
  }
  // Of what there is for each head, this warp's; the other's where it has none, and then what it finds is dropped.
  __device__ size_t own_head() const { return head + min(mine, heads - 1); }
};

// 16 pixels of the two heads, of each of two tensors. Pieces of a pixel are swapped so that no way of reading keeps lanes waiting for a
// bank.
struct Turn {
  uint4 pieces[2][16][8];
  __device__ static int place(int pixel, int piece) { return piece ^ (pixel % 2 * 4 + pixel / 2 % 2 * 2); }
};

struct AttentionBlock {
  Turn turns[attention_warps / 2][attention_stages];
  float scratch[attention_warps][D][D];  // of this block; then, in the first two, the matrices that the cluster found for the two heads
  float parts[2][D][D];                  // of the rows that this block adds up for the cluster: [head][block, row]
  float most[attention_warps][D], totals[attention_warps][D];
  float part_most[2][D], part_totals[2][D];  // as parts
  float along[2][D];
};

__device__ inline void sync_pair() { asm volatile("bar.sync %0, 64;" ::"r"(1 + threadIdx.x / 64) : "memory"); }

// The turns of two warps over their pixels of two tensors, or of one.
template <int tensors>
class Turns {
 public:
  // `from`: pixel 0, channel 0 of the first head; `row`: elements between pixels.
  __device__ Turns(AttentionBlock& block, const Place& at, const bf16* a, int a_row, const bf16* b = nullptr, int b_row = 0)
      : turns_(block.turns[threadIdx.x / 64]), from_{a, b}, row_{a_row, b_row}, pixel_(at.pixel), at_(at) {
    for (int i = 0; i < attention_stages - 1; ++i) fetch(i, pixel_ + i * attention_step);
  }
  __device__ bool more() const { return pixel_ < at_.end; }
  __device__ int pixel() const { return pixel_; }
  // The pixels of this turn; the place of those before is free by then.
  __device__ void wait() {
    wait_for_groups<attention_stages - 2>();
    sync_pair();
    fetch(slot_ == 0 ? attention_stages - 1 : slot_ - 1, pixel_ + (attention_stages - 1) * attention_step);
  }
  __device__ void next() {
    slot_ = slot_ + 1 == attention_stages ? 0 : slot_ + 1;
    pixel_ += attention_step;
  }

  __device__ Pixels read(int tensor) const {
    Pixels all;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const uint4 raw = piece(tensor, 8 * half + lane_group(), 4 * at_.mine + lane_place());
      all.pair[half][0] = raw.x;
      all.pair[half][1] = raw.y;
      all.pair[half][2] = raw.z;
      all.pair[half][3] = raw.w;
    }
    return all;
  }
  // Into the place of what was read.
  __device__ void write(int tensor, const float (&x)[2][8]) {
#pragma unroll
    for (int p = 0; p < 2; ++p)
      piece(tensor, 8 * p + lane_group(), 4 * at_.mine + lane_place()) =
          uint4{pack(x[p][0], x[p][1]), pack(x[p][2], x[p][3]), pack(x[p][4], x[p][5]), pack(x[p][6], x[p][7])};
  }
  // What both warps wrote, once they have met. Assignments would be taken apart into stores of four bytes.
  __device__ void store(int tensor, bf16* to, int row) const {
#pragma unroll
    for (int i = 0; i < 16; i += 8) {
      const int mine = i + threadIdx.x % 64 / 8, part = threadIdx.x % 8;
      if (pixel_ + mine < at_.end && part < 4 * at_.heads)
        __stwb(reinterpret_cast<uint4*>(to + static_cast<size_t>(pixel_ + mine) * row + 8 * part), piece(tensor, mine, part));
    }
  }
  // Channels 4g to 4g + 3.
  __device__ uint2 four(int tensor, int pixel) const {
    return reinterpret_cast<const uint2*>(&piece(tensor, pixel, 4 * at_.mine + lane_group() / 2))[lane_group() % 2];
  }

 private:
  __device__ uint4& piece(int tensor, int pixel, int piece) const { return turns_[slot_].pieces[tensor][pixel][Turn::place(pixel, piece)]; }
  __device__ void fetch(int slot, int pixel) {
    if (pixel < at_.end)
#pragma unroll
      for (int tensor = 0; tensor < tensors; ++tensor)
#pragma unroll
        for (int i = 0; i < 16; i += 8) {
          const int mine = i + threadIdx.x % 64 / 8, part = threadIdx.x % 8;
          const bool there = pixel + mine < at_.end && part < 4 * at_.heads;
          copy_async(shared_address(&turns_[slot].pieces[tensor][mine][Turn::place(mine, part)]),
                     from_[tensor] + static_cast<size_t>(pixel + mine) * row_[tensor] + 8 * part, there);
        }
    end_group();
  }

  Turn* turns_;
  const bf16* from_[2];
  int row_[2], pixel_, slot_ = 0;
  const Place& at_;
};

// Of the rows of 32 x 32 matrices each block of a cluster adds up a part.
struct ClusterRows {
  cg::cluster_group cluster = cg::this_cluster();
  int rank, count;  // rows of a block
  __device__ ClusterRows() : rank(cluster.block_rank()), count(D / cluster.num_blocks()) {}
  // Where what this block has of row d belongs, of `parts` or alike.
  template <class T>
  __device__ T& of(T (&parts)[D], int d) const {
    return cluster.map_shared_rank(&parts[0], d / count)[rank * count + d % count];
  }
  // Writes x into what every block has at `to`.
  __device__ void tell(float* to, float x) const {
    for (int other = 0; other < static_cast<int>(cluster.num_blocks()); ++other) *cluster.map_shared_rank(to, other) = x;
  }
};

// Adds the warps' parts of the two heads' 32 x 32 matrices, in their order, for the blocks that the rows belong to. A lane has columns 8t
// to 8t + 7 of rows first + i apart.
__device__ inline void add_warps(AttentionBlock& block, const ClusterRows& rows, const float (&part)[4][8], int first, int apart) {
#pragma unroll
  for (int i = 0; i < 4; ++i)
#pragma unroll
    for (int e = 0; e < 8; e += 4)
      *reinterpret_cast<float4*>(&block.scratch[threadIdx.x / 32][first + i * apart][8 * lane_place() + e]) =
          float4{part[i][e], part[i][e + 1], part[i][e + 2], part[i][e + 3]};
  __syncthreads();
#pragma unroll
  for (int i = threadIdx.x; i < 2 * D * D; i += attention_threads) {
    const int head = i / (D * D), d = i / D % D, e = i % D;
    float sum = 0.0f;
#pragma unroll
    for (int warp = 0; warp < attention_warps; warp += 2) sum += block.scratch[warp + head][d][e];
    rows.of(block.parts[head], d)[e] = sum;
  }
}

}  // namespace df::cuda
