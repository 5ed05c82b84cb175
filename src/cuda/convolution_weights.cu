// SPDX-License-Identifier: MIT
#include "cuda/convolution_weights.cuh"

#include <algorithm>

#include "cuda/image_tile.cuh"
#include "cuda/warp_matrix.cuh"

namespace df::cuda {

namespace {

// A block takes Out output and In input channels of some tiles of pixels, and all rows of the weights or one. Each of its warps takes one
// row and a part of the input channels: dy^T times x as it is seen from the places of the row. Side: that of the weights. Length: that of
// the rectangles that a tile is made of, which are of one image or of several.
template <int Side_, int Out_, int In_, int Length>
struct WeightTile {
  static constexpr int Side = Side_, Out = Out_, In = In_;
  static constexpr bool all_rows = Side == 3;
  static constexpr int rows = all_rows ? Side : 1;                 // of weights
  static constexpr int eights = Side != 3 ? 1 : In == 48 ? 3 : 2;  // of input channels, of a warp
  static constexpr int warps = rows * In / (8 * eights), threads = 32 * warps;
  static constexpr int blocks_at_once = Out == 64 ? 1 : Out == 48 ? 2 : 4;  // of a multiprocessor
  static constexpr int images = Length == 8 ? 2 : 1, pixels = images * Length * Length;
  using Gradient = ImageTile<Out, images, Length, Length, 0, 0>;
  using Input = ImageTile<In, images, Length, Length, all_rows ? Side / 2 : 0, Side / 2>;
  using Sums = float[Side][eights][Out / 16][4];
  static constexpr int stage = Gradient::bytes + Input::bytes, shared = 2 * stage;

  __host__ __device__ static int count_rows(const ConvolutionShape& s) { return (s.height + Length - 1) / Length; }
  __host__ __device__ static int count_columns(const ConvolutionShape& s) { return (s.width + Length - 1) / Length; }
  __host__ __device__ static int count(const ConvolutionShape& s) {
    return (s.images + images - 1) / images * count_rows(s) * count_columns(s);
  }

  static __device__ inline void load(unsigned to, const ConvolutionBatches& b, int tile, int out, int in, int row) {
    const ConvolutionShape& s = b.shape;
    const int per_batch = count(s), batch = tile / per_batch, inside = tile % per_batch, columns = count_columns(s), lines = count_rows(s);
    const int x = inside % columns * Length, y = inside / columns % lines * Length, image = inside / (columns * lines) * images;
    Gradient::template load<warps>(to, {b.dy[batch], s.images, s.height, s.width, s.out}, image, y, x, out);
    const bool second = in >= b.first;
    const Images from{b.x[second][batch], s.images, s.height, s.width, second ? s.in - b.first : b.first};
    Input::template load<warps>(to + Gradient::bytes, from, image, all_rows ? y : y + row - Side / 2, x, in - (second ? b.first : 0));
  }

  // row: of weights, of those that a block has; eight: the first of input channels, of the block's.
  static __device__ inline void multiply(Sums& sum, unsigned at, int row, int eight) {
    // Of 16 pixels at a time, a row of a rectangle or two, lanes have the addresses of these; matrices of eight pixels by eight channels.
    const int lane = threadIdx.x % 32, matrix = lane / 8, r = lane % 8, of_dy = matrix / 2, of_x = matrix % 2;
    constexpr bool whole = Length == 16;
    const unsigned dy =
        at + (whole ? place_of<Out>(8 * of_dy + r, matrix % 2) : of_dy * Gradient::row_bytes + place_of<Out>(r, matrix % 2));
    unsigned x[Side];
#pragma unroll
    for (int column = 0; column < Side; ++column)
      x[column] = at + Gradient::bytes + (row + (whole ? 0 : of_x)) * Input::row_bytes +
                  place_of<In>(column + r + (whole ? 8 * of_x : 0), eight + matrix / 2);
#pragma unroll(Side == 3 ? 4 : 2)
    for (int step = 0; step < pixels / 16; ++step) {
      const int line = whole ? step : 2 * step;  // of the rectangles
      const unsigned in_dy = line * Gradient::row_bytes, in_x = (line + line / Length * (Input::rows - Length)) * Input::row_bytes;
      unsigned a[Out / 16][4];
#pragma unroll
      for (int i = 0; i < Out / 16; ++i) load_matrices_transposed(a[i], further_parts<Out>(dy, i) + in_dy);
#pragma unroll
      for (int column = 0; column < Side; ++column) {
        if constexpr (eights >= 2) {
          unsigned b[4];
          load_matrices_transposed(b, x[column] + in_x);
#pragma unroll
          for (int i = 0; i < Out / 16; ++i) {
            multiply_add(sum[column][0][i], a[i], b[0], b[1]);
            multiply_add(sum[column][1][i], a[i], b[2], b[3]);
          }
        }
        if constexpr (eights % 2 == 1) {  // of two matrices the first sixteen lanes have the addresses
          unsigned b[2];
          load_matrices_transposed(b, (eights == 3 ? further_parts<In>(x[column], 1) : x[column]) + in_x);
#pragma unroll
          for (int i = 0; i < Out / 16; ++i) multiply_add(sum[column][eights - 1][i], a[i], b[0], b[1]);
        }
      }
    }
  }
};

template <class Tile>
__global__ void __launch_bounds__(Tile::threads, Tile::blocks_at_once)
    partial_kernel(const __grid_constant__ ConvolutionBatches b, float* partial) {
  extern __shared__ __align__(128) unsigned char memory[];
  const ConvolutionShape& s = b.shape;
  const unsigned stages = shared_address(memory);
  const int warp = threadIdx.x / 32, row = warp % Tile::rows, eight = warp / Tile::rows * Tile::eights, first_row = blockIdx.z;
  const int out = blockIdx.y / (s.in / Tile::In) * Tile::Out, in = blockIdx.y % (s.in / Tile::In) * Tile::In;
  const long long total = static_cast<long long>(b.count) * Tile::count(s);
  const int first = static_cast<int>(total * blockIdx.x / gridDim.x), last = static_cast<int>(total * (blockIdx.x + 1) / gridDim.x);
  typename Tile::Sums sum = {};
  if (first < last) Tile::load(stages, b, first, out, in, first_row);
  end_group();
  for (int tile = first; tile < last; ++tile) {
    const int stage = (tile - first) % 2;
    if (tile + 1 < last) Tile::load(stages + (1 - stage) * Tile::stage, b, tile + 1, out, in, first_row);
    end_group();
    wait_for_groups<1>();
    __syncthreads();
    Tile::multiply(sum, stages + stage * Tile::stage, row, eight);
    __syncthreads();
  }
  constexpr int Side = Tile::Side, taps = Side * Side;
  float* to = partial + static_cast<size_t>(blockIdx.x) * s.out * taps * s.in + in + 8 * eight + 2 * lane_place();
#pragma unroll
  for (int i = 0; i < Tile::Out / 16; ++i)
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
      for (int column = 0; column < Side; ++column)
#pragma unroll
        for (int j = 0; j < Tile::eights; ++j) {
          const float(&two)[4] = sum[column][j][i];
          const size_t weight = static_cast<size_t>(out + 16 * i + 8 * half + lane_group()) * taps + Side * (first_row + row) + column;
          *reinterpret_cast<float2*>(to + weight * s.in + 8 * j) = make_float2(two[2 * half], two[2 * half + 1]);
        }
}

constexpr int sum_columns = 32, sum_rows = 8;

// A row of threads adds a share of the parts, and the first row what all have found.
__global__ void __launch_bounds__(sum_columns* sum_rows)
    sum_kernel(int vectors, int parts, const float4* partial, const float4* more, float4* dw) {
  __shared__ float4 found[sum_rows][sum_columns];
  const int i = blockIdx.x * sum_columns + threadIdx.x, row = threadIdx.y;
  const auto add = [](float4& sum, const float4& next) {
    sum = make_float4(sum.x + next.x, sum.y + next.y, sum.z + next.z, sum.w + next.w);
  };
  float4 sum{0.0f, 0.0f, 0.0f, 0.0f};
  if (i < vectors)
#pragma unroll 8
    for (int part = parts * row / sum_rows; part < parts * (row + 1) / sum_rows; ++part)
      add(sum, partial[static_cast<size_t>(part) * vectors + i]);
  found[row][threadIdx.x] = sum;
  __syncthreads();
  if (row > 0 || i >= vectors) return;
#pragma unroll
  for (int other = 1; other < sum_rows; ++other) add(sum, found[other][threadIdx.x]);
  if (more) add(sum, more[i]);
  dw[i] = sum;
}

// Calls f with the tile for these sizes; false where there is none.
template <class F>
bool with_tile(const ConvolutionShape& s, int first, F&& f) {
  const bool small = s.height <= 8 || s.width <= 8;
  if (s.side == 1 && first != s.in && s.in % 48 == 0 && s.out == 48 && first % 48 == 0)  // joined ones are matrix products
    f(WeightTile<1, 48, 48, 16>());
  else if (s.side == 3 && s.in % 48 == 0 && s.out % 48 == 0 && first % 48 == 0)
    small ? f(WeightTile<3, 48, 48, 8>()) : f(WeightTile<3, 48, 48, 16>());
  else if (first != s.in)
    return false;
  else if (s.side == 3 && s.in % 64 == 0 && s.out % 64 == 0)
    small ? f(WeightTile<3, 64, 64, 8>()) : f(WeightTile<3, 64, 64, 16>());
  else if (s.side == 3 && s.in == 16 && s.out == 16)
    f(WeightTile<3, 16, 16, 16>());
  else if (s.side == 7 && s.in % 32 == 0 && s.out % 48 == 0)
    f(WeightTile<7, 48, 32, 16>());
  else
    return false;
  return true;
}

template <class Tile>
int blocks_a_part(Tile, const ConvolutionShape& s) {
  return s.out / Tile::Out * (s.in / Tile::In) * (Tile::Side / Tile::rows);
}

}  // namespace

int convolution_weights_parts(const ConvolutionBatches& b, int multiprocessors) {
  const ConvolutionShape& s = b.shape;
  int best = 0;
  with_tile(s, b.first, [&](auto shape) {
    using Tile = decltype(shape);
    constexpr double tile_us = Tile::pixels / 32.0, bytes_a_us = 2.5e6;
    const int at_once = multiprocessors * Tile::blocks_at_once, tiles = b.count * Tile::count(s), blocks = blocks_a_part(shape, s);
    const double sums = 2.0 * 4 * s.side * s.side * s.out * s.in / bytes_a_us;  // a part's, written and read
    double least = 0.0;
    for (int parts = 1; parts <= std::min(tiles, std::max(1, 3 * at_once / blocks)); ++parts) {
      // Each wave takes as long as the tiles of its longest part, and as two for what comes before and after.
      const int waves = (parts * blocks + at_once - 1) / at_once, longest = (tiles + parts - 1) / parts;
      const double time = waves * (longest + 2) * tile_us + parts * sums;
      if (best > 0 && time >= least) continue;
      best = parts;
      least = time;
    }
  });
  return best;
}

cudaError_t convolution_weights(const ConvolutionBatches& b, int parts, const float* more, float* partial, float* dw, cudaStream_t stream) {
  const ConvolutionShape& s = b.shape;
  cudaError_t error = cudaErrorInvalidValue;
  with_tile(s, b.first, [&](auto shape) {
    using Tile = decltype(shape);
    const cudaError_t ready = cudaFuncSetAttribute(partial_kernel<Tile>, cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::shared);
    error = ready;
    if (error != cudaSuccess) return;
    const dim3 blocks(parts, s.out / Tile::Out * (s.in / Tile::In), Tile::Side / Tile::rows);
    partial_kernel<Tile><<<blocks, Tile::threads, Tile::shared, stream>>>(b, partial);
    error = cudaGetLastError();
  });
  if (error != cudaSuccess) return error;
  const int vectors = s.out * s.side * s.side * s.in / 4;
  sum_kernel<<<(vectors + sum_columns - 1) / sum_columns, dim3(sum_columns, sum_rows), 0, stream>>>(
      vectors, parts, reinterpret_cast<const float4*>(partial), reinterpret_cast<const float4*>(more), reinterpret_cast<float4*>(dw));
  return cudaGetLastError();
}

}  // namespace df::cuda
