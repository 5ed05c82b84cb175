// SPDX-License-Identifier: MIT
#include "cuda/convolution_weights.cuh"

#include <algorithm>

#include "cuda/image_planes.cuh"
#include "cuda/launch.cuh"
#include "cuda/shared_memory.cuh"
#include "cuda/warp_matrix.cuh"
#include "cuda/warpgroup_matrix.cuh"

namespace df::cuda {

namespace {

// A block takes Out output and In input channels of some tiles of pixels, and all rows of the weights or one. Each of its warpgroups takes
// one row, or all a share of the pixels: dy^T times x as it is seen from the places of the row. Side: that of the weights. Length: that of
// the squares that a tile is made of, which are of one image or of several.
template <int Side_, int Out_, int In_, int Length>
struct WeightTile {
  static constexpr int Side = Side_, Out = Out_, In = In_;
  static constexpr bool all_rows = Side == 3;
  static constexpr int rows = all_rows ? Side : 1;  // of weights
  static constexpr int shares = Side == 1 ? 2 : 1;  // of pixels
  static constexpr int warps = 4 * rows * shares, threads = 32 * warps;
  static constexpr int blocks_at_once = Side == 3 && Out > 16 ? 1 : 2;  // of a multiprocessor
  static constexpr int images = 256 / (Length * Length), pixels = images * Length * Length;
  static constexpr int steps = pixels / 16 / shares, at_once = 4;  // of 16 pixels; for a warpgroup, and whose dy is in registers
  using Gradient = ImagePlanes<Out, images, Length, Length, 0, 0>;
  using Input = ImagePlanes<In, images, Length, Length, all_rows ? Side / 2 : 0, Side / 2>;
  using Sums = float[Side][In / 8][4];
  static constexpr int stage = Gradient::bytes + Input::bytes, shared = 2 * stage;

  __host__ __device__ static int count_rows(const ConvolutionShape& s) { return (s.height + Length - 1) / Length; }
  __host__ __device__ static int count_columns(const ConvolutionShape& s) { return (s.width + Length - 1) / Length; }
  __host__ __device__ static int count(const ConvolutionShape& s) {
    return (s.images + images - 1) / images * count_rows(s) * count_columns(s);
  }

  // Which tile of a batch it is, and its first pixel.
  struct Place {
    int batch, image, y, x;
    __device__ Place(const ConvolutionShape& s, int tile) {
      const int per_batch = count(s), inside = tile % per_batch, columns = count_columns(s), lines = count_rows(s);
      batch = tile / per_batch;
      x = inside % columns * Length;
      y = inside / columns % lines * Length;
      image = inside / (columns * lines) * images;
    }
  };
  // What a tile needs, on its way to shared memory.
  struct Copy {
    typename Gradient::template Copy<warps> dy;
    typename Input::template Copy<warps> x;
    __device__ void fetch(const ConvolutionBatches& b, const Place& at, int warp, int out, int in, int row) {
      const ConvolutionShape& s = b.shape;
      const bool second = in >= b.first;
      const Images from{b.x[second][at.batch], s.images, s.height, s.width, second ? s.in - b.first : b.first};
      x.fetch(from, warp, at.image, all_rows ? at.y : at.y + row - Side / 2, at.x, in - (second ? b.first : 0));
      dy.fetch({b.dy[at.batch], s.images, s.height, s.width, s.out}, warp, at.image, at.y, at.x, out);
    }
    __device__ void store(unsigned stage, int warp) const {
      x.store(stage + Gradient::bytes, warp);
      dy.store(stage, warp);
    }
  };

  // The row of eight pixels that a step starts with, of those of `Any`.
  template <class Any>
  static __device__ constexpr int line(int step) {
    const int line = Length == 16 ? step : 2 * step;
    return line + line / Length * (Any::rows - Length);
  }
  static __device__ constexpr int next_eight(int row_bytes) { return Length == 16 ? 8 * 16 : row_bytes; }

  // Of dy, transposed: 16 channels of a warp, of some steps from `first` on. Warps without channels have zeros.
  static __device__ inline void fetch(unsigned (&a)[at_once][4], unsigned stage, int warp, int first) {
    const int lane = threadIdx.x % 32, matrix = lane / 8;
    const unsigned at =
        stage + (warp % 4 * 2 + matrix % 2) * Gradient::plane_bytes + matrix / 2 * next_eight(Gradient::row_bytes) + lane % 8 * 16;
#pragma unroll
    for (int i = 0; i < at_once; ++i) {
      a[i][0] = a[i][1] = a[i][2] = a[i][3] = 0;
      if (Out == 64 || warp % 4 < Out / 16) load_matrices_transposed(a[i], at + line<Gradient>(first + i) * Gradient::row_bytes);
    }
  }
  // Starts what is to be done with them. row: of weights, of those that a block has.
  static __device__ inline void multiply(Sums& sum, const unsigned (&a)[at_once][4], unsigned stage, int row, int first) {
    const uint64_t x = matrix_blocks(stage + Gradient::bytes + row * Input::row_bytes, next_eight(Input::row_bytes), Input::plane_bytes);
#pragma unroll
    for (int i = 0; i < at_once; ++i)
#pragma unroll
      for (int column = 0; column < Side; ++column)
        multiply_add<true>(sum[column], a[i], further(x, line<Input>(first + i) * Input::row_bytes + column * 16));
  }
};

template <class Tile>
__global__ void __launch_bounds__(Tile::threads, Tile::blocks_at_once)
    partial_kernel(const __grid_constant__ ConvolutionBatches b, float* partial) {
  extern __shared__ __align__(128) unsigned char memory[];
  const ConvolutionShape& s = b.shape;
  const int warp = uniform(threadIdx.x / 32), row = warp / 4 % Tile::rows, share = warp / 4 / Tile::rows, first_row = blockIdx.z;
  const int out = blockIdx.y / (s.in / Tile::In) * Tile::Out, in = blockIdx.y % (s.in / Tile::In) * Tile::In;
  const long long total = static_cast<long long>(b.count) * Tile::count(s);
  const int first = static_cast<int>(total * blockIdx.x / gridDim.x), last = static_cast<int>(total * (blockIdx.x + 1) / gridDim.x);
  unsigned stage = shared_address(memory), other = stage + Tile::stage;
  typename Tile::Sums sum = {};
  typename Tile::Copy copy;
  if (first < last) {
    const typename Tile::Place at(s, first);
    copy.fetch(b, at, warp, out, in, first_row);
    copy.store(stage, warp);
  }
  for (int tile = first; tile < last; ++tile) {
    const typename Tile::Place next(s, tile + 1);
    const bool more = tile + 1 < last;
    show_to_products();
    __syncthreads();  // and nobody reads the other stage any more
#pragma unroll
    for (int step = 0; step < Tile::steps; step += Tile::at_once) {
      unsigned a[Tile::at_once][4];
      Tile::fetch(a, stage, warp, share * Tile::steps + step);
      begin_products();
      Tile::multiply(sum, a, stage, row, share * Tile::steps + step);
      end_products();
      // While these are under way, the next tile: asked for as early, and stored as late, as can be.
      if (more && step == 0) copy.fetch(b, next, warp, out, in, first_row);
      if (more && step + Tile::at_once == Tile::steps) copy.store(other, warp);
      wait_for_products(sum, a);
    }
    const unsigned used = stage;
    stage = other;
    other = used;
  }
  constexpr int Side = Tile::Side, taps = Side * Side;
  if (warp % 4 >= Tile::Out / 16) return;
  const int part = blockIdx.x * Tile::shares + share;
  float* to = partial + static_cast<size_t>(part) * s.out * taps * s.in + in + 2 * lane_place();
#pragma unroll
  for (int half = 0; half < 2; ++half)
#pragma unroll
    for (int column = 0; column < Side; ++column)
#pragma unroll
      for (int j = 0; j < Tile::In / 8; ++j) {
        const float(&two)[4] = sum[column][j];
        const size_t weight = static_cast<size_t>(out + warp % 4 * 16 + 8 * half + lane_group()) * taps + Side * (first_row + row) + column;
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
  const auto with_length = [&](auto large, auto little) { small ? f(little) : f(large); };
  if (s.side == 1 && first != s.in && s.in % 48 == 0 && s.out == 48 && first % 48 == 0)  // joined ones are matrix products
    f(WeightTile<1, 48, 48, 16>());
  else if (s.side == 3 && s.in % 48 == 0 && s.out % 64 == 0 && first % 48 == 0)
    with_length(WeightTile<3, 64, 48, 16>(), WeightTile<3, 64, 48, 8>());
  else if (s.side == 3 && s.in % 48 == 0 && s.out % 48 == 0 && first % 48 == 0)
    with_length(WeightTile<3, 48, 48, 16>(), WeightTile<3, 48, 48, 8>());
  else if (first != s.in)
    return false;
  else if (s.side == 3 && s.in % 64 == 0 && s.out % 64 == 0)
    with_length(WeightTile<3, 64, 32, 16>(), WeightTile<3, 64, 32, 8>());
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
    constexpr double tile_us = 2.5, bytes_a_us = 2.5e6;
    const int at_once = multiprocessors * Tile::blocks_at_once, tiles = b.count * Tile::count(s), blocks = blocks_a_part(shape, s);
    const double sums = 2.0 * 4 * Tile::shares * s.side * s.side * s.out * s.in / bytes_a_us;  // a part's, written and read
    double least = 0.0;
    for (int parts = 1; parts <= std::min(tiles, std::max(1, 3 * at_once / blocks)); ++parts) {
      // Each wave takes as long as the tiles of its longest part, and as two for what comes before and after.
      const int waves = (parts * blocks + at_once - 1) / at_once, longest = (tiles + parts - 1) / parts;
      const double time = waves * (longest + 2) * tile_us + parts * sums;
      if (best > 0 && time >= least) continue;
      best = parts * Tile::shares;
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
    const dim3 blocks(parts / Tile::shares, s.out / Tile::Out * (s.in / Tile::In), Tile::Side / Tile::rows);
    error = launch(partial_kernel<Tile>, {blocks, Tile::threads, Tile::shared}, stream, b, partial);
  });
  if (error != cudaSuccess) return error;
  const int vectors = s.out * s.side * s.side * s.in / 4;
  sum_kernel<<<(vectors + sum_columns - 1) / sum_columns, dim3(sum_columns, sum_rows), 0, stream>>>(
      vectors, parts, reinterpret_cast<const float4*>(partial), reinterpret_cast<const float4*>(more), reinterpret_cast<float4*>(dw));
  return cudaGetLastError();
}

}  // namespace df::cuda
