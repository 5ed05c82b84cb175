// SPDX-License-Identifier: MIT
// A block works on one image, head and chunk of pixels, each of its warps on 16 pixels at a time, which stay in registers from the load
// to the store; the next 16 are on their way meanwhile. Products of 32 x 32 run on the tensor cores in bfloat16 with float32 sums;
// exponentials and softmaxes are float32.
#include "cuda/linear_attention.cuh"

#include <algorithm>

#include "cuda/warp_matrix.cuh"

namespace df::cuda {

namespace {

using bf16 = __nv_bfloat16;

constexpr int warps = 4, threads = 32 * warps, D = 32;
constexpr int step = 16 * warps;  // pixels between two of a warp's turns
constexpr int join_warps = 8;
constexpr int most_pixels = 512;  // of a block that leaves no sums behind: small ones end together

// Where a warp works. Heads come first in the grid: they lie side by side in memory.
struct Place {
  int pixel, end, row;  // first pixel of the warp and end of the chunk; elements between pixels of qkv
  size_t first;         // element of qkv: pixel 0, channel 0 of this head's q
  size_t out;           // the same of images [P][heads][32]
  size_t head;          // n * heads + h
  size_t chunk;         // of the partial results
  __device__ Place(const LinearAttentionShape& s, int pixels) {
    pixel = blockIdx.y * pixels + threadIdx.x / 32 * 16;
    end = min(static_cast<int>(blockIdx.y + 1) * pixels, s.pixels);
    row = 3 * s.heads * D;
    const size_t image = static_cast<size_t>(blockIdx.z) * s.pixels;
    first = image * row + blockIdx.x * D;
    out = image * s.heads * D + blockIdx.x * D;
    head = static_cast<size_t>(blockIdx.z) * s.heads + blockIdx.x;
    chunk = head * gridDim.y + blockIdx.y;
  }
};

// Four channels of 16 pixels, for sums over pixels: a lane has channels 4g to 4g + 3 of pixels t, t + 4, t + 8 and t + 12.
struct Columns {
  uint2 pixel[4];
};

// `beyond`: what there is from pixel `end` on, twice.
__device__ inline Columns load_columns(const bf16* from, int row, int pixel, int end, unsigned beyond) {
  Columns all;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int mine = pixel + 4 * i + lane_place();
    all.pixel[i] = uint2{beyond, beyond};
    if (mine < end) all.pixel[i] = *reinterpret_cast<const uint2*>(from + static_cast<size_t>(mine) * row + 4 * lane_group());
  }
  return all;
}

__device__ inline unsigned half(const uint2& four, int i) { return i == 0 ? four.x : four.y; }
__device__ inline float channel(const uint2& four, int c) { return c % 2 == 0 ? low_of(half(four, c / 2)) : high_of(half(four, c / 2)); }

// Adds the warps' parts of a 32 x 32 matrix, in their order. A lane has columns 8t to 8t + 7 of rows first + i apart.
__device__ inline void add_warps(float (*scratch)[D][D], const float (&part)[4][8], int first, int apart, float* out) {
#pragma unroll
  for (int i = 0; i < 4; ++i)
#pragma unroll
    for (int e = 0; e < 8; e += 4)
      *reinterpret_cast<float4*>(&scratch[threadIdx.x / 32][first + i * apart][8 * lane_place() + e]) =
          float4{part[i][e], part[i][e + 1], part[i][e + 2], part[i][e + 3]};
  __syncthreads();
  for (int i = threadIdx.x; i < D * D; i += threads) {
    float sum = 0.0f;
#pragma unroll
    for (int warp = 0; warp < warps; ++warp) sum += scratch[warp][i / D][i % D];
    out[i] = sum;
  }
}

// A key may be that much above what its exponential is taken against before the sums are rescaled.
constexpr float slack = 8.0f;

// Of a chunk: what the exponentials of each key channel are taken against, their sum, and the sum of exp(k) v^T.
__global__ void __launch_bounds__(threads, 5) context_kernel(LinearAttentionShape s, const bf16* qkv, float* partial, float* partial_max) {
  __shared__ __align__(16) float scratch[warps][D][D];
  __shared__ float most[warps][D], totals[warps][D];
  constexpr unsigned none = 0xff80ff80u, ones = 0x3f803f80u;  // two times minus infinity and 1
  const Place at(s, s.chunk);
  const bf16 *keys = qkv + at.first + s.heads * D, *values = keys + s.heads * D;
  const int warp = threadIdx.x / 32, d = 4 * lane_group();  // this lane's key channels: d to d + 3
  float top[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
  float sum[2][4][4] = {}, total[2][4] = {};  // of channel d + c: [c / 2][.][2 (c % 2) on]
  Columns next_k = load_columns(keys, at.row, at.pixel, at.end, none), next_v = load_columns(values, at.row, at.pixel, at.end, 0);
  for (int pixel = at.pixel; pixel < at.end; pixel += step) {
    const Columns k = next_k, v = next_v;
    next_k = load_columns(keys, at.row, pixel + step, at.end, none);
    next_v = load_columns(values, at.row, pixel + step, at.end, 0);
    uint2 largest = k.pixel[0];
#pragma unroll
    for (int i = 1; i < 4; ++i) largest = uint2{larger(largest.x, k.pixel[i].x), larger(largest.y, k.pixel[i].y)};
    bool above = false;
#pragma unroll
    for (int c = 0; c < 4; ++c) above |= channel(largest, c) > top[c] + slack;
    if (__any_sync(whole_warp, above)) {
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
  if (lane_place() == 0)
#pragma unroll
    for (int c = 0; c < 4; ++c) most[warp][d + c] = top[c];
  __syncthreads();
  float part[4][8];
#pragma unroll
  for (int c = 0; c < 4; ++c) {
    float all = most[0][d + c];
#pragma unroll
    for (int other = 1; other < warps; ++other) all = fmaxf(all, most[other][d + c]);
    const float factor = __expf(top[c] - all);  // 0 for a warp that had no pixel
    // Column g of product j is value channel 4g + j, so that columns 2t and 2t + 1 are 8t + j and 8t + 4 + j.
#pragma unroll
    for (int e = 0; e < 8; ++e) part[c][e] = sum[c / 2][e % 4][2 * (c % 2) + e / 4] * factor;
    if (lane_place() == 0) totals[warp][d + c] = total[c / 2][2 * (c % 2)] * factor;
    if (warp == 0 && lane_place() == 0) partial_max[at.chunk * D + d + c] = all;
  }
  float* out = partial + at.chunk * (D + 1) * D;
  add_warps(scratch, part, d, 1, out);
  if (threadIdx.x < D) {
    float all = 0.0f;
#pragma unroll
    for (int other = 0; other < warps; ++other) all += totals[other][threadIdx.x];
    out[D * D + threadIdx.x] = all;
  }
}

// Chunks and memory tokens together. A warp has one image, head and key channel, its lanes the value channels.
__global__ void __launch_bounds__(32 * join_warps)
    join_kernel(LinearAttentionShape s, const float* partial, const float* partial_max, const float* memory, float* context, float* keys) {
  const int row = blockIdx.x * join_warps + threadIdx.x / 32, head = row / D, h = head % s.heads, d = row % D, e = threadIdx.x % 32;
  memory += static_cast<size_t>(head / s.heads) * s.memory_row;
  const float* memory_k = memory + (h * D + d) * s.memories;
  const float* memory_v = memory + ((s.heads + h) * D + e) * s.memories;
  partial += static_cast<size_t>(head) * s.chunks * (D + 1) * D;
  partial_max += static_cast<size_t>(head) * s.chunks * D + d;
  float top = -INFINITY;
  for (int j = 0; j < s.memories; ++j) top = fmaxf(top, memory_k[j]);
  for (int c = e; c < s.chunks; c += 32) top = fmaxf(top, partial_max[c * D]);
#pragma unroll
  for (int other = 16; other > 0; other /= 2) top = fmaxf(top, __shfl_xor_sync(whole_warp, top, other));
  float total = 0.0f, sum = 0.0f;
  for (int j = 0; j < s.memories; ++j) {
    const float weight = __expf(memory_k[j] - top);
    total += weight;
    sum += weight * memory_v[j];
  }
  for (int begin = 0; begin < s.chunks; begin += 32) {
    const int mine = begin + e, count = min(32, s.chunks - begin);
    const float weight = e < count ? __expf(partial_max[mine * D] - top) : 0.0f;
    float weighted = e < count ? weight * partial[mine * (D + 1) * D + D * D + d] : 0.0f;
#pragma unroll
    for (int other = 16; other > 0; other /= 2) weighted += __shfl_xor_sync(whole_warp, weighted, other);
    total += weighted;
#pragma unroll 8
    for (int c = 0; c < count; ++c) sum += __shfl_sync(whole_warp, weight, c) * partial[(begin + c) * (D + 1) * D + d * D + e];
  }
  context[static_cast<size_t>(row) * D + e] = sum / total * 0.17677669529663687f;  // 32^-1/2
  if (e == 0) {
    keys[static_cast<size_t>(head) * 2 * D + d] = top;
    keys[static_cast<size_t>(head) * 2 * D + D + d] = total;
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
__global__ void __launch_bounds__(threads)
    out_kernel(LinearAttentionShape s, int pixels, const bf16* qkv, const float* context, bf16* out) {
  const Place at(s, pixels);
  const bf16* queries = qkv + at.first;
  Pixels next = load_pixels(queries, at.row, at.pixel, at.end);
  ChannelMap map;
  map.load(context + at.head * D * D, false);
  for (int pixel = at.pixel; pixel < at.end; pixel += step) {
    const Pixels q = next;
    next = load_pixels(queries, at.row, pixel + step, at.end);
    float weights[2][8], product[2][8];
    softmax(q, weights);
    multiply(product, packed(weights), map);
    store_pixels(out + at.out, packed(product), s.heads * D, pixel, at.end);
  }
}

// dq, and of each chunk the gradient of the context: sum of softmax(q) dout^T.
__global__ void __launch_bounds__(threads)
    query_backward_kernel(LinearAttentionShape s, const bf16* qkv, const float* context, const bf16* dout, float* partial, bf16* dqkv) {
  __shared__ __align__(16) float scratch[warps][D][D];
  const Place at(s, s.chunk);
  const bf16 *queries = qkv + at.first, *upstream = dout + at.out;
  Pixels next_q = load_pixels(queries, at.row, at.pixel, at.end), next_d = load_pixels(upstream, s.heads * D, at.pixel, at.end);
  ChannelMap map;
  map.load(context + at.head * D * D, true);
  float sum[2][4][4] = {};
  for (int pixel = at.pixel; pixel < at.end; pixel += step) {
    const Pixels q = next_q, d = next_d;
    next_q = load_pixels(queries, at.row, pixel + step, at.end);
    next_d = load_pixels(upstream, s.heads * D, pixel + step, at.end);
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
    store_pixels(dqkv + at.first, packed(weights), at.row, pixel, at.end);
  }
  float part[4][8];
#pragma unroll
  for (int i = 0; i < 4; ++i)
#pragma unroll
    for (int e = 0; e < 8; ++e) part[i][e] = sum[i / 2][e / 2][2 * (i % 2) + e % 2];
  add_warps(scratch, part, 8 * (lane_group() / 2) + lane_group() % 2, 2, partial + at.chunk * D * D);
}

// Gradient of the unscaled context, its product with the context (for the softmax over pixels), and that of the memory tokens.
__global__ void __launch_bounds__(D* D) join_backward_kernel(LinearAttentionShape s, const float* partial, const float* memory,
                                                             const float* context, const float* keys, float* dcontext, float* dmemory) {
  __shared__ float matrix[D][D + 1], along[D];
  const int head = blockIdx.x, h = head % s.heads, n = head / s.heads, e = threadIdx.x % D, d = threadIdx.x / D;
  float sum = 0.0f;
#pragma unroll 8
  for (int c = 0; c < s.chunks; ++c) sum += partial[(static_cast<size_t>(head) * s.chunks + c) * D * D + threadIdx.x];
  float product = sum * context[(static_cast<size_t>(head) * D + d) * D + e];
  for (int step = 16; step > 0; step /= 2) product += __shfl_xor_sync(0xffffffffu, product, step);
  const float scaled = sum * 0.17677669529663687f;
  matrix[d][e] = scaled;
  dcontext[static_cast<size_t>(head) * (D + 1) * D + threadIdx.x] = scaled;
  if (e == 0) {
    along[d] = product;
    dcontext[static_cast<size_t>(head) * (D + 1) * D + D * D + d] = product;
  }
  __syncthreads();
  // Thread (channel, j): one key and one value of memory token j.
  const int channel = threadIdx.x % D;
  memory += static_cast<size_t>(n) * s.memory_row;
  for (int j = threadIdx.x / D; j < s.memories; j += D) {
    const float* memory_k = memory + h * D * s.memories + j;
    const float* memory_v = memory + (s.heads + h) * D * s.memories + j;
    const float* top = keys + static_cast<size_t>(head) * 2 * D;
    float dk = 0.0f, dv = 0.0f;
    for (int i = 0; i < D; ++i) {
      dk += memory_v[i * s.memories] * matrix[channel][i];
      dv += __expf(memory_k[i * s.memories] - top[i]) / top[D + i] * matrix[i][channel];
    }
    const float weight = __expf(memory_k[channel * s.memories] - top[channel]) / top[D + channel];
    float* out = dmemory + (static_cast<size_t>(n) * 2 * s.heads + h) * D * s.memories + channel * s.memories + j;
    out[0] = weight * (dk - along[channel]);
    out[s.heads * D * s.memories] = dv;
  }
}

__global__ void __launch_bounds__(threads, 4)
    key_backward_kernel(LinearAttentionShape s, int pixels, const bf16* qkv, const float* keys, const float* dcontext, bf16* dqkv) {
  const Place at(s, pixels);
  const size_t first = at.first + s.heads * D;
  const int values = s.heads * D;  // from a key to the value
  Pixels next_k = load_pixels(qkv + first, at.row, at.pixel, at.end), next_v = load_pixels(qkv + first + values, at.row, at.pixel, at.end);
  const float *matrix = dcontext + at.head * (D + 1) * D, *of_keys = keys + at.head * 2 * D + 8 * lane_place();
  ChannelMap to_weights, to_values;
  to_weights.load(matrix, true);
  to_values.load(matrix, false);
  float top[8], along[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    top[i] = of_keys[i] + __logf(of_keys[D + i]);
    along[i] = matrix[D * D + 8 * lane_place() + i];
  }
  for (int pixel = at.pixel; pixel < at.end; pixel += step) {
    const Pixels k = next_k, v = next_v;
    next_k = load_pixels(qkv + first, at.row, pixel + step, at.end);
    next_v = load_pixels(qkv + first + values, at.row, pixel + step, at.end);
    float weights[2][8], product[2][8];
#pragma unroll
    for (int p = 0; p < 2; ++p)
#pragma unroll
      for (int i = 0; i < 8; ++i) weights[p][i] = __expf((i % 2 == 0 ? low_of(k.pair[p][i / 2]) : high_of(k.pair[p][i / 2])) - top[i]);
    multiply(product, packed(weights), to_values);
    store_pixels(dqkv + first + values, packed(product), at.row, pixel, at.end);
    multiply(product, v, to_weights);
#pragma unroll
    for (int p = 0; p < 2; ++p)
#pragma unroll
      for (int i = 0; i < 8; ++i) weights[p][i] *= product[p][i] - along[i];
    store_pixels(dqkv + first, packed(weights), at.row, pixel, at.end);
  }
}

int free_pixels(const LinearAttentionShape& s) { return std::min(s.chunk, most_pixels); }
dim3 free_grid(const LinearAttentionShape& s) { return dim3(s.heads, (s.pixels + free_pixels(s) - 1) / free_pixels(s), s.images); }

}  // namespace

void linear_attention(const LinearAttentionShape& s, const bf16* qkv, const float* memory, float* partial, float* context, float* keys,
                      bf16* out, cudaStream_t stream) {
  const dim3 grid(s.heads, s.chunks, s.images);
  float* partial_max = partial + static_cast<size_t>(s.images) * s.heads * s.chunks * (D + 1) * D;
  context_kernel<<<grid, threads, 0, stream>>>(s, qkv, partial, partial_max);
  join_kernel<<<s.images * s.heads*(D / join_warps), 32 * join_warps, 0, stream>>>(s, partial, partial_max, memory, context, keys);
  out_kernel<<<free_grid(s), threads, 0, stream>>>(s, free_pixels(s), qkv, context, out);
}

void linear_attention_backward(const LinearAttentionShape& s, const bf16* qkv, const float* memory, const float* context, const float* keys,
                               const bf16* dout, float* partial, float* dcontext, bf16* dqkv, float* dmemory, cudaStream_t stream) {
  const dim3 grid(s.heads, s.chunks, s.images);
  query_backward_kernel<<<grid, threads, 0, stream>>>(s, qkv, context, dout, partial, dqkv);
  join_backward_kernel<<<s.images * s.heads, D * D, 0, stream>>>(s, partial, memory, context, keys, dcontext, dmemory);
  key_backward_kernel<<<free_grid(s), threads, 0, stream>>>(s, free_pixels(s), qkv, keys, dcontext, dqkv);
}

}  // namespace df::cuda
