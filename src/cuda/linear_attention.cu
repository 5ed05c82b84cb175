// SPDX-License-Identifier: MIT
// One kernel each way. A block works on two heads and a chunk of pixels of an image, each of its warps on 16 pixels of a head at a time;
// the next ones are on their way into shared memory meanwhile. The blocks of a cluster share an image: what they find is added up by
// writing it into each other's shared memory, always in the same order. Products of 32 x 32 run on the tensor cores in bfloat16 with
// float32 sums; exponentials and softmaxes are float32.
#include "cuda/linear_attention.cuh"

#include <utility>

#include "cuda/launch.cuh"
#include "cuda/linear_attention_block.cuh"

namespace df::cuda {

namespace {

constexpr float scale = 0.17677669529663687f;  // 32^-1/2

// Four channels of 16 pixels, for sums over pixels: a lane has channels 4g to 4g + 3 of pixels t, t + 4, t + 8 and t + 12.
struct Columns {
  uint2 pixel[4];
};

__device__ inline Columns read_columns(const Turns<2>& turns, int tensor) {
  Columns all;
#pragma unroll
  for (int i = 0; i < 4; ++i) all.pixel[i] = turns.four(tensor, 4 * i + lane_place());
  return all;
}

__device__ inline unsigned half(const uint2& four, int i) { return i == 0 ? four.x : four.y; }
__device__ inline float channel(const uint2& four, int c) { return c % 2 == 0 ? low_of(half(four, c / 2)) : high_of(half(four, c / 2)); }

// A key may be that much above what its exponential is taken against before the sums are rescaled.
constexpr float slack = 8.0f;

// From -infinity is where there was nothing.
__device__ inline float decay(float from, float to) { return from == -INFINITY ? 0.0f : __expf(from - to); }

// Of a chunk: what the exponentials of each key channel are taken against, their sum, and the sum of exp(k) v^T.
struct KeySums {
  float top[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};  // of channels 4g to 4g + 3
  float sum[2][4][4] = {}, total[2][4] = {};                    // of channel 4g + c: [c / 2][.][2 (c % 2) on]

  __device__ void add(const Columns& k, const Columns& v) {
    uint2 largest = k.pixel[0];
#pragma unroll
    for (int i = 1; i < 4; ++i) largest = uint2{larger(largest.x, k.pixel[i].x), larger(largest.y, k.pixel[i].y)};
    constexpr unsigned ones = 0x3f803f80u;
    bool above = false;
#pragma unroll
    for (int c = 0; c < 4; ++c) above |= channel(largest, c) > top[c] + slack;
    if (__any_sync(whole_warp, above)) raise(largest);
    unsigned weights[2][4];
#pragma unroll
    for (int c = 0; c < 4; ++c)
#pragma unroll
      for (int two = 0; two < 2; ++two)
        weights[c / 2][2 * two + c % 2] =
            pack(__expf(channel(k.pixel[2 * two], c) - top[c]), __expf(channel(k.pixel[2 * two + 1], c) - top[c]));
        // The sums of weights as the products use them, so that they add up to one.
#pragma unroll
    for (int i = 0; i < 2; ++i) multiply_add(total[i], weights[i], ones, ones);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const unsigned bytes = j % 2 == 0 ? 0x5410 : 0x7632;
      const unsigned b0 = __byte_perm(half(v.pixel[0], j / 2), half(v.pixel[1], j / 2), bytes);
      const unsigned b1 = __byte_perm(half(v.pixel[2], j / 2), half(v.pixel[3], j / 2), bytes);
#pragma unroll
      for (int i = 0; i < 2; ++i) multiply_add(sum[i][j], weights[i], b0, b1);
    }
  }

  __device__ void raise(const uint2& largest) {
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      const float now = fmaxf(top[c], group_max(channel(largest, c))), factor = __expf(top[c] - now);
      top[c] = now;
#pragma unroll
      for (int i = 2 * (c % 2); i < 2 * (c % 2) + 2; ++i) {
        total[c / 2][i] *= factor;
#pragma unroll
        for (int j = 0; j < 4; ++j) sum[c / 2][j][i] *= factor;
      }
    }
  }

  // For the blocks that add up the cluster's.
  __device__ void pass_on(AttentionBlock& block, const ClusterRows& rows) const {
    const int warp = threadIdx.x / 32, head = warp % 2, d = 4 * lane_group();
    if (lane_place() == 0)
#pragma unroll
      for (int c = 0; c < 4; ++c) block.most[warp][d + c] = top[c];
    __syncthreads();
    float part[4][8];
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      float all = block.most[head][d + c];
#pragma unroll
      for (int other = head + 2; other < attention_warps; other += 2) all = fmaxf(all, block.most[other][d + c]);
      const float factor = decay(top[c], all);
      // Column g of product j is value channel 4g + j, so that columns 2t and 2t + 1 are 8t + j and 8t + 4 + j.
#pragma unroll
      for (int e = 0; e < 8; ++e) part[c][e] = sum[c / 2][e % 4][2 * (c % 2) + e / 4] * factor;
      if (lane_place() == 0) block.totals[warp][d + c] = total[c / 2][2 * (c % 2)] * factor;
      if (warp == head && lane_place() == 0) rows.of(block.part_most[head], d + c) = all;
    }
    add_warps(block, rows, part, d, 1);
    if (warp < 2) {
      float all = 0.0f;
#pragma unroll
      for (int other = head; other < attention_warps; other += 2) all += block.totals[other][threadIdx.x % 32];
      rows.of(block.part_totals[head], threadIdx.x % 32) = all;
    }
  }
};

// The context, from what the blocks of the cluster passed on and the memory tokens. A warp has one key channel, its lanes the value
// channels.
__device__ inline void join(AttentionBlock& block, const ClusterRows& rows, const LinearAttentionShape& s, const Place& at,
                            const float* memory, float* context, float* keys) {
  const int e = threadIdx.x % 32;
  memory += static_cast<size_t>(blockIdx.z) * s.memory_row;
  for (int i = threadIdx.x / 32; i < at.heads * rows.count; i += attention_warps) {
    const int mine = i / rows.count, row = i % rows.count, d = rows.rank * rows.count + row;
    const size_t head = at.head + mine;
    const int h = 2 * blockIdx.x + mine;
    const float* memory_k = memory + (h * D + d) * s.memories;
    const float* memory_v = memory + ((s.heads + h) * D + e) * s.memories;
    float top = -INFINITY;
    for (int j = 0; j < s.memories; ++j) top = fmaxf(top, memory_k[j]);
    for (int j = row; j < D; j += rows.count) top = fmaxf(top, block.part_most[mine][j]);
    float total = 0.0f, sum = 0.0f;
    for (int j = 0; j < s.memories; ++j) {
      const float weight = __expf(memory_k[j] - top);
      total += weight;
      sum += weight * memory_v[j];
    }
    for (int j = row; j < D; j += rows.count) {
      const float weight = decay(block.part_most[mine][j], top);
      total += weight * block.part_totals[mine][j];
      sum += weight * block.parts[mine][j][e];
    }
    const float value = sum / total * scale;
    rows.tell(&block.scratch[mine][d][e], value);
    context[(head * D + d) * D + e] = value;
    if (e == 0) {
      keys[head * 2 * D + d] = top;
      keys[head * 2 * D + D + d] = total;
    }
  }
}

// Over the channels of each pixel. weights[p][i]: channel 8t + i of pixel g + 8p.
__device__ inline void softmax(const Pixels& x, float (&weights)[2][8]) {
#pragma unroll
  for (int p = 0; p < 2; ++p) {
    const unsigned(&pair)[4] = x.pair[p];
    const unsigned two = larger(larger(pair[0], pair[1]), larger(pair[2], pair[3]));
    const float most = group_max(fmaxf(low_of(two), high_of(two)));
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < 8; ++i) sum += weights[p][i] = __expf((i % 2 == 0 ? low_of(pair[i / 2]) : high_of(pair[i / 2])) - most);
    const float inverse = 1.0f / group_sum(sum);
#pragma unroll
    for (int i = 0; i < 8; ++i) weights[p][i] *= inverse;
  }
}

__device__ inline Pixels packed(const float (&x)[2][8]) {
  Pixels all;
#pragma unroll
  for (int p = 0; p < 2; ++p)
#pragma unroll
    for (int j = 0; j < 4; ++j) all.pair[p][j] = pack(x[p][2 * j], x[p][2 * j + 1]);
  return all;
}

// out = softmax(q) context
__global__ void __launch_bounds__(attention_threads, 2)
    forward_kernel(LinearAttentionShape s, const bf16* qkv, const float* memory, float* context, float* keys, bf16* out) {
  extern __shared__ __align__(16) unsigned char block_memory[];
  AttentionBlock& block = *reinterpret_cast<AttentionBlock*>(block_memory);
  const ClusterRows rows;
  auto ready = rows.cluster.barrier_arrive();
  const Place at(s);
  const bf16* first = qkv + at.first;
  {
    KeySums sums;
    for (Turns<2> turns(block, at, first + s.heads * D, at.row, first + 2 * s.heads * D, at.row); turns.more(); turns.next()) {
      turns.wait();
      Columns k = read_columns(turns, 0);
      const Columns v = read_columns(turns, 1);
      if (turns.pixel() + 16 > at.end)
#pragma unroll
        for (int i = 0; i < 4; ++i)
          if (turns.pixel() + 4 * i + lane_place() >= at.end) k.pixel[i] = uint2{0xff80ff80u, 0xff80ff80u};  // minus infinity
      sums.add(k, v);
    }
    rows.cluster.barrier_wait(std::move(ready));
    sums.pass_on(block, rows);
  }
  Turns<1> turns(block, at, first, at.row);
  rows.cluster.sync();
  join(block, rows, s, at, memory, context, keys);
  rows.cluster.sync();
  ChannelMap map;
  map.load(&block.scratch[at.mine][0][0], false);
  for (; turns.more(); turns.next()) {
    float weights[2][8], product[2][8];
    turns.wait();
    softmax(turns.read(0), weights);
    multiply(product, packed(weights), map);
    turns.write(0, product);
    sync_pair();
    turns.store(0, out + at.out, s.heads * D);
  }
}

// Gradient of the unscaled context, its product with the context (for the softmax over pixels).
__device__ inline void join_backward(AttentionBlock& block, const ClusterRows& rows, const Place& at, const float* context) {
  const int e = threadIdx.x % 32;
  for (int i = threadIdx.x / 32; i < at.heads * rows.count; i += attention_warps) {
    const int mine = i / rows.count, row = i % rows.count, d = rows.rank * rows.count + row;
    const size_t head = at.head + mine;
    float sum = 0.0f;
    for (int j = row; j < D; j += rows.count) sum += block.parts[mine][j][e];
    float product = sum * context[(head * D + d) * D + e];
#pragma unroll
    for (int other = 16; other > 0; other /= 2) product += __shfl_xor_sync(whole_warp, product, other);
    rows.tell(&block.scratch[mine][d][e], sum * scale);
    if (e == 0) rows.tell(&block.along[mine][d], product);
  }
}

// Gradients of memory tokens: a warp has one, its lanes the channels of its key and its value.
__device__ inline void memory_backward(const AttentionBlock& block, const ClusterRows& rows, const LinearAttentionShape& s, const Place& at,
                                       const float* memory, const float* keys, float* dmemory) {
  const int n = blockIdx.z, channel = threadIdx.x % 32, blocks = rows.cluster.num_blocks();
  memory += static_cast<size_t>(n) * s.memory_row;
  for (int i = threadIdx.x / 32 * blocks + rows.rank; i < at.heads * s.memories; i += blocks * attention_warps) {
    const int mine = i / s.memories, j = i % s.memories, h = 2 * blockIdx.x + mine;
    const float* top = keys + (at.head + mine) * 2 * D;
    const float* memory_k = memory + h * D * s.memories + j;
    const float* memory_v = memory + (s.heads + h) * D * s.memories + j;
    const float weight = __expf(memory_k[channel * s.memories] - top[channel]) / top[D + channel], value = memory_v[channel * s.memories];
    float dk = 0.0f, dv = 0.0f;
    for (int c = 0; c < D; ++c) {
      const int turned = (c + channel) % D;  // one bank for each lane
      dk += __shfl_sync(whole_warp, value, turned) * block.scratch[mine][channel][turned];
      dv += __shfl_sync(whole_warp, weight, c) * block.scratch[mine][c][channel];
    }
    float* out = dmemory + (static_cast<size_t>(n) * 2 * s.heads + h) * D * s.memories + channel * s.memories + j;
    out[0] = weight * (dk - block.along[mine][channel]);
    out[s.heads * D * s.memories] = dv;
  }
}

// dq, and of each chunk the gradient of the context: sum of softmax(q) dout^T.
__device__ inline void backward_of_queries(Turns<2>& turns, const float* context, float (&sum)[2][4][4], bf16* dq, int row) {
  ChannelMap map;
  map.load(context, true);
  for (; turns.more(); turns.next()) {
    turns.wait();
    const Pixels q = turns.read(0), d = turns.read(1);
    float weights[2][8], product[2][8];
    softmax(q, weights);
    add_products(sum, packed(weights), d);
    multiply(product, d, map);
#pragma unroll
    for (int p = 0; p < 2; ++p) {
      float along = 0.0f;
#pragma unroll
      for (int i = 0; i < 8; ++i) along += weights[p][i] * product[p][i];
      along = group_sum(along);
#pragma unroll
      for (int i = 0; i < 8; ++i) weights[p][i] *= product[p][i] - along;
    }
    turns.write(0, weights);
    sync_pair();
    turns.store(0, dq, row);
  }
}

__global__ void __launch_bounds__(attention_threads, 2)
    backward_kernel(LinearAttentionShape s, const bf16* qkv, const float* memory, const float* context, const float* keys, const bf16* dout,
                    bf16* dqkv, float* dmemory) {
  extern __shared__ __align__(16) unsigned char block_memory[];
  AttentionBlock& block = *reinterpret_cast<AttentionBlock*>(block_memory);
  const ClusterRows rows;
  auto ready = rows.cluster.barrier_arrive();
  const Place at(s);
  const int values = s.heads * D;  // from a key to the value
  {
    float sum[2][4][4] = {};
    Turns<2> turns(block, at, qkv + at.first, at.row, dout + at.out, s.heads * D);
    backward_of_queries(turns, context + at.own_head() * D * D, sum, dqkv + at.first, at.row);
    float part[4][8];
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int e = 0; e < 8; ++e) part[i][e] = sum[i / 2][e / 2][2 * (i % 2) + e % 2];
    rows.cluster.barrier_wait(std::move(ready));
    add_warps(block, rows, part, 8 * (lane_group() / 2) + lane_group() % 2, 2);
  }
  const size_t first = at.first + values;
  Turns<2> turns(block, at, qkv + first, at.row, qkv + first + values, at.row);
  rows.cluster.sync();
  join_backward(block, rows, at, context);
  rows.cluster.sync();
  const float* of_keys = keys + at.own_head() * 2 * D + 8 * lane_place();
  ChannelMap to_weights, to_values;
  to_weights.load(&block.scratch[at.mine][0][0], true);
  to_values.load(&block.scratch[at.mine][0][0], false);
  float top[8], along[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    top[i] = of_keys[i] + __logf(of_keys[D + i]);
    along[i] = block.along[at.mine][8 * lane_place() + i];
  }
  for (; turns.more(); turns.next()) {
    turns.wait();
    const Pixels k = turns.read(0), v = turns.read(1);
    float weights[2][8], product[2][8];
#pragma unroll
    for (int p = 0; p < 2; ++p)
#pragma unroll
      for (int i = 0; i < 8; ++i) weights[p][i] = __expf((i % 2 == 0 ? low_of(k.pair[p][i / 2]) : high_of(k.pair[p][i / 2])) - top[i]);
    multiply(product, packed(weights), to_values);
    turns.write(1, product);
    multiply(product, v, to_weights);
#pragma unroll
    for (int p = 0; p < 2; ++p)
#pragma unroll
      for (int i = 0; i < 8; ++i) weights[p][i] *= product[p][i] - along[i];
    turns.write(0, weights);
    sync_pair();
    turns.store(0, dqkv + first, at.row);
    turns.store(1, dqkv + first + values, at.row);
  }
  memory_backward(block, rows, s, at, memory, keys, dmemory);
}

Launch launch_of(const LinearAttentionShape& s) {
  return {dim3((s.heads + 1) / 2, s.chunks, s.images), attention_threads, sizeof(AttentionBlock), dim3(1, s.chunks)};
}

}  // namespace

cudaError_t linear_attention(const LinearAttentionShape& s, const bf16* qkv, const float* memory, float* context, float* keys, bf16* out,
                             cudaStream_t stream) {
  return launch(forward_kernel, launch_of(s), stream, s, qkv, memory, context, keys, out);
}

cudaError_t linear_attention_backward(const LinearAttentionShape& s, const bf16* qkv, const float* memory, const float* context,
                                      const float* keys, const bf16* dout, bf16* dqkv, float* dmemory, cudaStream_t stream) {
  return launch(backward_kernel, launch_of(s), stream, s, qkv, memory, context, keys, dout, dqkv, dmemory);
}

}  // namespace df::cuda
