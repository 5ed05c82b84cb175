// SPDX-License-Identifier: MIT
// One block holds one image, head and chunk of pixels, and walks it in tiles of 128 pixels. Products of 32 x 32 run on the tensor
// cores in bfloat16 with float32 sums; exponentials and softmaxes are float32.
#include "cuda/linear_attention.cuh"

#include <mma.h>

namespace df::cuda {

namespace {

using bf16 = __nv_bfloat16;
namespace wmma = nvcuda::wmma;

constexpr int threads = 128, tile = 128, D = 32;
constexpr int stride = D + 8;   // of bfloat16 rows in shared memory: rows start in different banks
constexpr int fstride = D + 4;  // of float32 rows

using RowA = wmma::fragment<wmma::matrix_a, 16, 16, 16, bf16, wmma::row_major>;
using ColA = wmma::fragment<wmma::matrix_a, 16, 16, 16, bf16, wmma::col_major>;
using RowB = wmma::fragment<wmma::matrix_b, 16, 16, 16, bf16, wmma::row_major>;
using ColB = wmma::fragment<wmma::matrix_b, 16, 16, 16, bf16, wmma::col_major>;
using Sum = wmma::fragment<wmma::accumulator, 16, 16, 16, float>;

// Rows of one head: `count` of a tile from `from`, `row` elements apart; the rest zero.
__device__ void load_tile(bf16 (*to)[stride], const bf16* from, int row, int count) {
  for (int i = threadIdx.x; i < tile * 4; i += threads) {
    const int pixel = i / 4, part = i % 4 * 8;
    *reinterpret_cast<uint4*>(&to[pixel][part]) =
        pixel < count ? *reinterpret_cast<const uint4*>(from + static_cast<size_t>(pixel) * row + part) : uint4{0, 0, 0, 0};
  }
}

__device__ void store_tile(bf16* to, const bf16 (*from)[stride], int row, int count) {
  for (int i = threadIdx.x; i < tile * 4; i += threads) {
    const int pixel = i / 4, part = i % 4 * 8;
    if (pixel < count) *reinterpret_cast<uint4*>(to + static_cast<size_t>(pixel) * row + part) = *reinterpret_cast<const uint4*>(&from[pixel][part]);
  }
}

__device__ inline void read_row(const bf16* row, float (&values)[D]) {
#pragma unroll
  for (int part = 0; part < D; part += 8) {
    const uint4 raw = *reinterpret_cast<const uint4*>(row + part);
    const bf16* eight = reinterpret_cast<const bf16*>(&raw);
#pragma unroll
    for (int i = 0; i < 8; ++i) values[part + i] = __bfloat162float(eight[i]);
  }
}

__device__ inline void write_row(bf16* row, const float (&values)[D]) {
#pragma unroll
  for (int part = 0; part < D; part += 8) {
    uint4 raw;
    bf16* eight = reinterpret_cast<bf16*>(&raw);
#pragma unroll
    for (int i = 0; i < 8; ++i) eight[i] = __float2bfloat16_rn(values[part + i]);
    *reinterpret_cast<uint4*>(row + part) = raw;
  }
}

__device__ inline void softmax(float (&values)[D]) {
  float most = values[0], sum = 0.0f;
#pragma unroll
  for (int i = 1; i < D; ++i) most = fmaxf(most, values[i]);
#pragma unroll
  for (int i = 0; i < D; ++i) sum += values[i] = __expf(values[i] - most);
  const float inverse = 1.0f / sum;
#pragma unroll
  for (int i = 0; i < D; ++i) values[i] *= inverse;
}

// sum[i][j] += a^T b of this warp's 32 pixels: a, b [tile][32].
__device__ inline void add_products(Sum (&sum)[2][2], const bf16 (*a)[stride], const bf16 (*b)[stride]) {
  const int first = threadIdx.x / 32 * 32;
#pragma unroll
  for (int pixel = 0; pixel < 32; pixel += 16)
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      ColA left;
      wmma::load_matrix_sync(left, &a[first + pixel][16 * i], stride);
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        RowB right;
        wmma::load_matrix_sync(right, &b[first + pixel][16 * j], stride);
        wmma::mma_sync(sum[i][j], left, right, sum[i][j]);
      }
    }
}

// out [tile][32] = a [tile][32] times m (or its transpose) [32][32], this warp's 32 pixels.
template <class B>
__device__ inline void multiply(float (*out)[fstride], const bf16 (*a)[stride], const bf16 (*m)[stride]) {
  constexpr bool transposed = std::is_same<B, ColB>::value;
  const int first = threadIdx.x / 32 * 32;
#pragma unroll
  for (int pixel = 0; pixel < 32; pixel += 16)
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      Sum sum;
      wmma::fill_fragment(sum, 0.0f);
#pragma unroll
      for (int k = 0; k < 2; ++k) {
        RowA left;
        B right;
        wmma::load_matrix_sync(left, &a[first + pixel][16 * k], stride);
        wmma::load_matrix_sync(right, transposed ? &m[16 * j][16 * k] : &m[16 * k][16 * j], stride);
        wmma::mma_sync(sum, left, right, sum);
      }
      wmma::store_matrix_sync(&out[first + pixel][16 * j], sum, fstride, wmma::mem_row_major);
    }
}

// Adds the warps' sums and writes [32][32]; scratch [tile][fstride] is free to use.
__device__ void write_products(const Sum (&sum)[2][2], float (*scratch)[fstride], float* out) {
  const int warp = threadIdx.x / 32;
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 2; ++i)
#pragma unroll
    for (int j = 0; j < 2; ++j) wmma::store_matrix_sync(&scratch[warp * 32 + 16 * i][16 * j], sum[i][j], fstride, wmma::mem_row_major);
  __syncthreads();
  for (int i = threadIdx.x; i < D * D; i += threads) {
    const int d = i / D, e = i % D;
    out[i] = scratch[d][e] + scratch[32 + d][e] + scratch[64 + d][e] + scratch[96 + d][e];
  }
}

__device__ inline void clear(Sum (&sum)[2][2]) {
#pragma unroll
  for (int i = 0; i < 2; ++i)
#pragma unroll
    for (int j = 0; j < 2; ++j) wmma::fill_fragment(sum[i][j], 0.0f);
}

__device__ inline void load_matrix(bf16 (*to)[stride], const float* from) {
  for (int i = threadIdx.x; i < D * D; i += threads) to[i / D][i % D] = __float2bfloat16_rn(from[i]);
}

// Where a block works.
struct Place {
  int begin, end, row;       // pixels of the image; elements between pixels of qkv
  size_t first;              // element of qkv: pixel 0, channel 0 of this head's q
  size_t head;               // n * heads + h
  size_t chunk;              // of the partial results
  __device__ explicit Place(const LinearAttentionShape& s) {
    begin = blockIdx.x * s.chunk;
    end = min(begin + s.chunk, s.pixels);
    row = 3 * s.heads * D;
    first = static_cast<size_t>(blockIdx.z) * s.pixels * row + blockIdx.y * D;
    head = static_cast<size_t>(blockIdx.z) * s.heads + blockIdx.y;
    chunk = head * gridDim.x + blockIdx.x;
  }
};

// Of a chunk: largest key of each channel, sum of exponentials, and sum of exp(k) v^T.
__global__ void __launch_bounds__(threads) context_kernel(LinearAttentionShape s, const bf16* qkv, float* partial, float* partial_max) {
  __shared__ __align__(16) bf16 k[tile][stride], v[tile][stride];
  __shared__ __align__(16) float scratch[tile][fstride];
  __shared__ float most[4][D], sums[4][D];
  const Place at(s);
  const bf16* keys = qkv + at.first + s.heads * D;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, part = threadIdx.x % 4 * 8;
  float best[8];
  for (int i = 0; i < 8; ++i) best[i] = -INFINITY;
  for (int pixel = at.begin + threadIdx.x / 4; pixel < at.end; pixel += threads / 4) {
    const uint4 raw = *reinterpret_cast<const uint4*>(keys + static_cast<size_t>(pixel) * at.row + part);
    const bf16* eight = reinterpret_cast<const bf16*>(&raw);
#pragma unroll
    for (int i = 0; i < 8; ++i) best[i] = fmaxf(best[i], __bfloat162float(eight[i]));
  }
#pragma unroll
  for (int i = 0; i < 8; ++i)
    for (int step = 4; step < 32; step *= 2) best[i] = fmaxf(best[i], __shfl_xor_sync(0xffffffffu, best[i], step));
  if (lane < 4)
    for (int i = 0; i < 8; ++i) most[warp][part + i] = best[i];
  __syncthreads();
  const float top = fmaxf(fmaxf(most[0][lane], most[1][lane]), fmaxf(most[2][lane], most[3][lane]));
  float total = 0.0f;
  Sum sum[2][2];
  clear(sum);
  for (int begin = at.begin; begin < at.end; begin += tile) {
    const int count = min(tile, at.end - begin);
    __syncthreads();
    load_tile(k, keys + static_cast<size_t>(begin) * at.row, at.row, count);
    load_tile(v, keys + static_cast<size_t>(begin) * at.row + s.heads * D, at.row, count);
    __syncthreads();
    for (int pixel = warp * 32; pixel < warp * 32 + 32; ++pixel) {
      const bf16 e = __float2bfloat16_rn(pixel < count ? __expf(__bfloat162float(k[pixel][lane]) - top) : 0.0f);
      k[pixel][lane] = e;
      total += __bfloat162float(e);  // what the product below uses, so that the weights add up to one
    }
    __syncwarp();
    add_products(sum, k, v);
  }
  sums[warp][lane] = total;
  float* out = partial + at.chunk * (D + 1) * D;
  write_products(sum, scratch, out);
  if (warp == 0) {
    out[D * D + lane] = sums[0][lane] + sums[1][lane] + sums[2][lane] + sums[3][lane];
    partial_max[at.chunk * D + lane] = top;
  }
}

// Chunks and memory tokens together. Block: one image and head; thread (d, e).
__global__ void __launch_bounds__(D* D)
    join_kernel(LinearAttentionShape s, const float* partial, const float* partial_max, const float* memory, float* context, float* keys) {
  const int head = blockIdx.x, h = head % s.heads, e = threadIdx.x % D, d = threadIdx.x / D;
  const float* memory_k = memory + (h * D + d) * s.memories;
  const float* memory_v = memory + ((s.heads + h) * D + e) * s.memories;
  float top = -INFINITY;
  for (int j = 0; j < s.memories; ++j) top = fmaxf(top, memory_k[j]);
  for (int c = 0; c < s.chunks; ++c) top = fmaxf(top, partial_max[(static_cast<size_t>(head) * s.chunks + c) * D + d]);
  float total = 0.0f, sum = 0.0f;
  for (int j = 0; j < s.memories; ++j) {
    const float weight = __expf(memory_k[j] - top);
    total += weight;
    sum += weight * memory_v[j];
  }
  for (int c = 0; c < s.chunks; ++c) {
    const size_t chunk = static_cast<size_t>(head) * s.chunks + c;
    const float weight = __expf(partial_max[chunk * D + d] - top);
    total += weight * partial[chunk * (D + 1) * D + D * D + d];
    sum += weight * partial[chunk * (D + 1) * D + d * D + e];
  }
  context[(static_cast<size_t>(head) * D + d) * D + e] = sum / total * 0.17677669529663687f;  // 32^-1/2
  if (e == 0) {
    keys[static_cast<size_t>(head) * 2 * D + d] = top;
    keys[static_cast<size_t>(head) * 2 * D + D + d] = total;
  }
}

// out = softmax(q) context
__global__ void __launch_bounds__(threads) out_kernel(LinearAttentionShape s, const bf16* qkv, const float* context, bf16* out) {
  __shared__ __align__(16) bf16 q[tile][stride], c[D][stride];
  __shared__ __align__(16) float product[tile][fstride];
  const Place at(s);
  load_matrix(c, context + at.head * D * D);
  const int row = s.heads * D;
  for (int begin = at.begin; begin < at.end; begin += tile) {
    const int count = min(tile, at.end - begin);
    __syncthreads();
    load_tile(q, qkv + at.first + static_cast<size_t>(begin) * at.row, at.row, count);
    __syncthreads();
    float values[D];
    read_row(q[threadIdx.x], values);
    softmax(values);
    write_row(q[threadIdx.x], values);
    __syncwarp();
    multiply<RowB>(product, q, c);
    __syncwarp();
#pragma unroll
    for (int i = 0; i < D; ++i) values[i] = product[threadIdx.x][i];
    write_row(q[threadIdx.x], values);
    __syncthreads();
    store_tile(out + (static_cast<size_t>(blockIdx.z) * s.pixels + begin) * row + blockIdx.y * D, q, row, count);
  }
}

// dq, and of each chunk the gradient of the context: sum of softmax(q) dout^T.
__global__ void __launch_bounds__(threads)
    query_backward_kernel(LinearAttentionShape s, const bf16* qkv, const float* context, const bf16* dout, float* partial, bf16* dqkv) {
  __shared__ __align__(16) bf16 q[tile][stride], d[tile][stride], c[D][stride];
  __shared__ __align__(16) float product[tile][fstride];
  const Place at(s);
  load_matrix(c, context + at.head * D * D);
  const int row = s.heads * D;
  Sum sum[2][2];
  clear(sum);
  for (int begin = at.begin; begin < at.end; begin += tile) {
    const int count = min(tile, at.end - begin);
    __syncthreads();
    load_tile(q, qkv + at.first + static_cast<size_t>(begin) * at.row, at.row, count);
    load_tile(d, dout + (static_cast<size_t>(blockIdx.z) * s.pixels + begin) * row + blockIdx.y * D, row, count);
    __syncthreads();
    float values[D];
    read_row(q[threadIdx.x], values);
    softmax(values);
    write_row(q[threadIdx.x], values);
    __syncwarp();
    add_products(sum, q, d);
    multiply<ColB>(product, d, c);
    __syncwarp();
    float along = 0.0f;
#pragma unroll
    for (int i = 0; i < D; ++i) along += values[i] * product[threadIdx.x][i];
#pragma unroll
    for (int i = 0; i < D; ++i) values[i] *= product[threadIdx.x][i] - along;
    write_row(q[threadIdx.x], values);
    __syncthreads();
    store_tile(dqkv + at.first + static_cast<size_t>(begin) * at.row, q, at.row, count);
  }
  write_products(sum, product, partial + at.chunk * D * D);
}

// Gradient of the unscaled context, its product with the context (for the softmax over pixels), and that of the memory tokens.
__global__ void __launch_bounds__(D* D) join_backward_kernel(LinearAttentionShape s, const float* partial, const float* memory,
                                                             const float* context, const float* keys, float* dcontext, float* dmemory) {
  __shared__ float matrix[D][D + 1], along[D];
  const int head = blockIdx.x, h = head % s.heads, n = head / s.heads, e = threadIdx.x % D, d = threadIdx.x / D;
  float sum = 0.0f;
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

__global__ void __launch_bounds__(threads)
    key_backward_kernel(LinearAttentionShape s, const bf16* qkv, const float* keys, const float* dcontext, bf16* dqkv) {
  __shared__ __align__(16) bf16 k[tile][stride], v[tile][stride], c[D][stride];
  __shared__ __align__(16) float product[tile][fstride];
  __shared__ float top[D], inverse[D], along[D];
  const Place at(s);
  const float* matrix = dcontext + at.head * (D + 1) * D;
  load_matrix(c, matrix);
  if (threadIdx.x < D) {
    top[threadIdx.x] = keys[at.head * 2 * D + threadIdx.x];
    inverse[threadIdx.x] = 1.0f / keys[at.head * 2 * D + D + threadIdx.x];
    along[threadIdx.x] = matrix[D * D + threadIdx.x];
  }
  for (int begin = at.begin; begin < at.end; begin += tile) {
    const int count = min(tile, at.end - begin);
    const size_t first = at.first + static_cast<size_t>(begin) * at.row + s.heads * D;
    __syncthreads();
    load_tile(k, qkv + first, at.row, count);
    load_tile(v, qkv + first + s.heads * D, at.row, count);
    __syncthreads();
    float weights[D], values[D];
    read_row(k[threadIdx.x], weights);
#pragma unroll
    for (int i = 0; i < D; ++i) weights[i] = __expf(weights[i] - top[i]) * inverse[i];
    write_row(k[threadIdx.x], weights);
    __syncwarp();
    multiply<ColB>(product, v, c);  // d of the weights
    __syncwarp();
#pragma unroll
    for (int i = 0; i < D; ++i) weights[i] *= product[threadIdx.x][i] - along[i];
    __syncwarp();
    multiply<RowB>(product, k, c);  // dv
    __syncwarp();
#pragma unroll
    for (int i = 0; i < D; ++i) values[i] = product[threadIdx.x][i];
    write_row(k[threadIdx.x], weights);
    write_row(v[threadIdx.x], values);
    __syncthreads();
    store_tile(dqkv + first, k, at.row, count);
    store_tile(dqkv + first + s.heads * D, v, at.row, count);
  }
}

}  // namespace

void linear_attention(const LinearAttentionShape& s, const bf16* qkv, const float* memory, float* partial, float* context, float* keys, bf16* out,
                      cudaStream_t stream) {
  const dim3 grid(s.chunks, s.heads, s.images);
  float* partial_max = partial + static_cast<size_t>(s.images) * s.heads * s.chunks * (D + 1) * D;
  context_kernel<<<grid, threads, 0, stream>>>(s, qkv, partial, partial_max);
  join_kernel<<<s.images * s.heads, D * D, 0, stream>>>(s, partial, partial_max, memory, context, keys);
  out_kernel<<<grid, threads, 0, stream>>>(s, qkv, context, out);
}

void linear_attention_backward(const LinearAttentionShape& s, const bf16* qkv, const float* memory, const float* context, const float* keys,
                               const bf16* dout, float* partial, float* dcontext, bf16* dqkv, float* dmemory, cudaStream_t stream) {
  const dim3 grid(s.chunks, s.heads, s.images);
  query_backward_kernel<<<grid, threads, 0, stream>>>(s, qkv, context, dout, partial, dqkv);
  join_backward_kernel<<<s.images * s.heads, D * D, 0, stream>>>(s, partial, memory, context, keys, dcontext, dmemory);
  key_backward_kernel<<<grid, threads, 0, stream>>>(s, qkv, keys, dcontext, dqkv);
}

}  // namespace df::cuda
