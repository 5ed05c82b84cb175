// SPDX-License-Identifier: MIT
#include "cuda/convolution.cuh"

#include <algorithm>
#include <type_traits>

#include "cuda/image_tile.cuh"
#include "cuda/vector.cuh"
#include "cuda/warp_matrix.cuh"

namespace df::cuda {

namespace {

constexpr int warps = 8, threads = 32 * warps, rows_of_warp = 4, tile_width = 16, tile_height = warps * rows_of_warp;

// A block computes N channels of rectangles of pixels, of each warp four rows. Its weights stay in shared memory; with two stages the next
// C channels of x come while these are multiplied.
template <int Side_, int C_, int N_, int stages_, bool transposed_>
struct ConvolutionTile {
  static constexpr int Side = Side_, C = C_, N = N_, taps = Side * Side, stages = stages_;
  static constexpr bool transposed = transposed_;
  static constexpr int most_chunks = Side == 7 ? 1 : 2;  // of C input channels
  using Input = ImageTile<C, 1, tile_height, tile_width, Side / 2, Side / 2>;
  static constexpr int line = transposed ? N : C, lines_a_tap = transposed ? C : N;  // weights: [tap][lines_a_tap][line]
  static constexpr int weight_bytes = taps * C * N * 2;
  static constexpr int shared_bytes(int chunks) { return stages * Input::bytes + chunks * weight_bytes; }
  using Sums = float[rows_of_warp][N / 8][4];

  // Starts the copy of N x C weights of each tap.
  static __device__ inline void load_weights(unsigned to, const Convolution& c, const __nv_bfloat16* w, int out, int in) {
    constexpr int parts = line / 8;
    const int outer = transposed ? in : out, inner = transposed ? out : in;
#pragma unroll 2
    for (int i = threadIdx.x; i < taps * lines_a_tap * parts; i += threads) {
      const int at = i / parts, part = i % parts;
      copy_async(to + place_of<line>(at, part),
                 w + (static_cast<size_t>(outer + at % lines_a_tap) * taps + at / lines_a_tap) * c.row + inner + 8 * part, true);
    }
  }

  static __device__ inline void multiply(Sums& sum, unsigned x, unsigned w) {
    const int lane = threadIdx.x % 32, matrix = lane / 8, r = lane % 8;
    // Of the warp's first row of pixels, seen from the places of a row of weights: a pixel for each lane.
    unsigned pixel[Side];
#pragma unroll
    for (int column = 0; column < Side; ++column)
      pixel[column] = x + threadIdx.x / 32 * rows_of_warp * Input::row_bytes + place_of<C>(column + matrix % 2 * 8 + r, matrix / 2);
    // Of weights, from where the rest lies at constant distances: lines of both kinds are a multiple of eight from these.
    const unsigned from =
        w + (transposed ? place_of<line>(matrix % 2 * 8 + r, matrix / 2) : place_of<line>(matrix / 2 * 8 + r, matrix % 2));
    constexpr int rows_at_once = Side == 3 ? 3 : 1;
#pragma unroll rows_at_once
    for (int row = 0; row < Side; ++row) {
      const unsigned weights = from + row * (Side * C * N * 2), top = (transposed ? Side - 1 - row : row) * Input::row_bytes;
#pragma unroll
      for (int column = 0; column < Side; ++column)
#pragma unroll
        for (int step = 0; step < C / 16; ++step) {
          unsigned a[rows_of_warp][4], b[N / 16][4];
#pragma unroll
          for (int j = 0; j < N / 16; ++j) {
            const unsigned tap = weights + column * (C * N * 2);
            if constexpr (transposed)
              load_matrices_transposed(b[j], further_parts<line>(tap, j) + step * (16 * line * 2));
            else
              load_matrices(b[j], further_parts<line>(tap, step) + j * (16 * line * 2));
          }
#pragma unroll
          for (int i = 0; i < rows_of_warp; ++i)
            load_matrices(a[i], further_parts<C>(pixel[transposed ? Side - 1 - column : column], step) + top + i * Input::row_bytes);
#pragma unroll
          for (int i = 0; i < rows_of_warp; ++i)
#pragma unroll
            for (int j = 0; j < N / 16; ++j) {
              multiply_add(sum[i][2 * j], a[i], b[j][0], b[j][1]);
              multiply_add(sum[i][2 * j + 1], a[i], b[j][2], b[j][3]);
            }
        }
    }
  }
};

__host__ __device__ int columns(const ConvolutionShape& s) { return s.width / tile_width; }
__host__ __device__ int rows(const ConvolutionShape& s) { return s.height / tile_height; }
__host__ __device__ int tiles(const ConvolutionShape& s) { return s.images * rows(s) * columns(s); }

struct Corner {
  int image, y, x;
};
__device__ Corner corner(const ConvolutionShape& s, int tile) {
  return {tile / (rows(s) * columns(s)), tile / columns(s) % rows(s) * tile_height, tile % columns(s) * tile_width};
}

// Lane t of a group has part t of four things and gets thing t: all four parts.
__device__ inline uint4 exchange(unsigned (&x)[4]) {
  const int t = lane_place();
  // First between lanes two apart, then between neighbours, each time the half that the other wants.
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const unsigned given = t & 2 ? x[i] : x[i + 2], got = __shfl_xor_sync(whole_warp, given, 2);
    (t & 2 ? x[i] : x[i + 2]) = got;
  }
#pragma unroll
  for (int i = 0; i < 4; i += 2) {
    const unsigned given = t & 1 ? x[i] : x[i + 1], got = __shfl_xor_sync(whole_warp, given, 1);
    (t & 1 ? x[i] : x[i + 1]) = got;
  }
  return {x[0], x[1], x[2], x[3]};
}

// Where a lane's parts of a warp's pixels lie in images of `row` channels, of which `out` is the first: eight channels of a pixel are
// exchanged among four lanes, so that a lane has channels 16 j on or 8 more, of pixel g or of pixel g + 8 of a line.
struct Parts {
  size_t first;
  int line;
  __device__ Parts(const ConvolutionShape& s, const Corner& at, int row, int out) : line(s.width * row) {
    const int t = lane_place(), top = at.y + threadIdx.x / 32 * rows_of_warp;
    first = (static_cast<size_t>(at.image * s.height + top) * s.width + at.x + lane_group() + t % 2 * 8) * row + out + t / 2 * 8;
  }
  __device__ size_t at(int i, int j) const { return first + i * line + 16 * j; }
};

// add: there may be `more`, whose next line is on its way while one is added.
template <int N, bool add>
__device__ inline void store_tile(const float (&sum)[rows_of_warp][N / 8][4], const Parts& parts, const __nv_bfloat16* more,
                                  __nv_bfloat16* y) {
  uint4 next[N / 16];
  const auto fetch = [&](int i) {
    if (add && more && i < rows_of_warp)
#pragma unroll
      for (int j = 0; j < N / 16; ++j) next[j] = load_packed(more + parts.at(i, j));
  };
  fetch(0);
#pragma unroll
  for (int i = 0; i < rows_of_warp; ++i) {
    uint4 rest[N / 16];
#pragma unroll
    for (int j = 0; j < N / 16; ++j) rest[j] = next[j];
    fetch(i + 1);
#pragma unroll
    for (int j = 0; j < N / 16; ++j) {
      const float(&low)[4] = sum[i][2 * j], (&high)[4] = sum[i][2 * j + 1];
      unsigned pairs[4] = {pack(low[0], low[1]), pack(low[2], low[3]), pack(high[0], high[1]), pack(high[2], high[3])};
      uint4 eight = exchange(pairs);
      if (add && more) {
        auto all = unpack<__nv_bfloat16>(eight);
        const auto also = unpack<__nv_bfloat16>(rest[j]);
#pragma unroll
        for (int k = 0; k < 8; ++k) all.value[k] += also.value[k];
        eight = packed(all);
      }
      store_packed(y + parts.at(i, j), eight);
    }
  }
}

// split: what is read or, transposed, what is written are two images, of C and of N channels each.
template <class Tile, bool split>
__global__ void __launch_bounds__(threads, 1)
    convolution_kernel(Convolution c, const __grid_constant__ ConvolutionImages images, const __nv_bfloat16* w) {
  extern __shared__ __align__(128) unsigned char memory[];
  using Input = typename Tile::Input;
  constexpr bool two_in = split && !Tile::transposed, two_out = split && Tile::transposed;
  const ConvolutionShape& s = c.shape;
  const int chunks = two_in ? 2 : s.in / Tile::C, out = blockIdx.y * Tile::N;
  const unsigned weights = shared_address(memory), stages = weights + chunks * Tile::weight_bytes;
  const int own = (tiles(s) - blockIdx.x + gridDim.x - 1) / gridDim.x * chunks;  // pieces of work: C channels of a tile
  const auto load = [&](int piece) {
    if (piece < own) {
      const Corner at = corner(s, blockIdx.x + piece / chunks * gridDim.x);
      const int chunk = piece % chunks;
      const Images from{two_in && chunk == 1 ? images.x[1] : images.x[0], s.images, s.height, s.width, two_in ? Tile::C : s.in};
      Input::template load<warps>(stages + piece % Tile::stages * Input::bytes, from, at.image, at.y, at.x, two_in ? 0 : chunk * Tile::C);
    }
    end_group();
  };
  for (int chunk = 0; chunk < chunks; ++chunk) Tile::load_weights(weights + chunk * Tile::weight_bytes, c, w, out, chunk * Tile::C);
  if (Tile::stages == 2) load(0);
  const bool second = two_out && blockIdx.y == 1;
  const __nv_bfloat16* more = second ? images.more[1] : images.more[0];
  for (int piece = 0; piece < own;) {
    typename Tile::Sums sum = {};
    const Corner at = corner(s, blockIdx.x + piece / chunks * gridDim.x);
    if (Tile::transposed && more) {  // will be wanted in the end
      const Parts parts(s, at, two_out ? Tile::N : s.out, two_out ? 0 : out);
#pragma unroll
      for (int i = 0; i < rows_of_warp; ++i) asm volatile("prefetch.global.L2 [%0];" ::"l"(more + parts.at(i, 0)));
    }
    for (int chunk = 0; chunk < chunks; ++chunk, ++piece) {
      load(piece + Tile::stages - 1);
      wait_for_groups<Tile::stages - 1>();
      __syncthreads();
      Tile::multiply(sum, stages + piece % Tile::stages * Input::bytes, weights + chunk * Tile::weight_bytes);
      __syncthreads();
    }
    store_tile<Tile::N, Tile::transposed>(sum, Parts(s, at, two_out ? Tile::N : s.out, two_out ? 0 : out), more,
                                          second ? images.y[1] : images.y[0]);
  }
}

// Calls f with the tile for these sizes; false where there is none.
template <class F>
bool with_tile(const Convolution& c, F&& f) {
  const ConvolutionShape& s = c.shape;
  if (s.width % tile_width != 0 || s.height % tile_height != 0) return false;
  const auto with = [&](auto as_it_is, auto transposed, auto split) {
    c.transposed ? f(transposed, split) : f(as_it_is, split);
    return true;
  };
  if (c.first_in != s.in || c.first_out != s.out) {
    const bool halves = c.transposed ? s.in == 48 && s.out == 96 && c.first_out == 48 : s.in == 96 && s.out == 48 && c.first_in == 48;
    if (halves && s.side == 3) return with(ConvolutionTile<3, 48, 48, 2, false>(), ConvolutionTile<3, 48, 48, 2, true>(), std::true_type());
    if (halves && s.side == 1) return with(ConvolutionTile<1, 48, 48, 2, false>(), ConvolutionTile<1, 48, 48, 2, true>(), std::true_type());
    return false;
  }
  if (s.side == 3 && s.in % 48 == 0 && s.in <= 96 && s.out % 48 == 0)
    return with(ConvolutionTile<3, 48, 48, 2, false>(), ConvolutionTile<3, 48, 48, 2, true>(), std::false_type());
  if (s.side == 3 && s.in == 16 && s.out == 16)
    return with(ConvolutionTile<3, 16, 16, 2, false>(), ConvolutionTile<3, 16, 16, 2, true>(), std::false_type());
  if (s.side == 7 && (c.transposed ? s.in == 48 && s.out == 16 : s.in == 32 && s.out == 48))
    return with(ConvolutionTile<7, 32, 48, 1, false>(), ConvolutionTile<7, 48, 16, 1, true>(), std::false_type());
  return false;
}

template <class Tile, bool split>
cudaError_t launch(const Convolution& c, int multiprocessors, const ConvolutionImages& images, const __nv_bfloat16* w,
                   cudaStream_t stream) {
  constexpr auto kernel = convolution_kernel<Tile, split>;
  const cudaError_t ready =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::shared_bytes(Tile::most_chunks));
  if (ready != cudaSuccess) return ready;
  // As many blocks as run at once, each with as many tiles as the others where that is possible.
  const int at_once = std::max(1, multiprocessors / (c.shape.out / Tile::N)), each = (tiles(c.shape) + at_once - 1) / at_once;
  const dim3 blocks((tiles(c.shape) + each - 1) / each, c.shape.out / Tile::N);
  kernel<<<blocks, threads, Tile::shared_bytes(c.shape.in / Tile::C), stream>>>(c, images, w);
  return cudaGetLastError();
}

}  // namespace

bool convolution_fits(const Convolution& c, int multiprocessors) {
  bool busy = false;
  return with_tile(c, [&](auto tile, auto) { busy = 2 * tiles(c.shape) * (c.shape.out / decltype(tile)::N) >= multiprocessors; }) && busy;
}

cudaError_t convolution(const Convolution& c, int multiprocessors, const ConvolutionImages& images, const __nv_bfloat16* w,
                        cudaStream_t stream) {
  cudaError_t error = cudaErrorInvalidValue;
  with_tile(c, [&](auto tile, auto split) { error = launch<decltype(tile), split>(c, multiprocessors, images, w, stream); });
  return error;
}

}  // namespace df::cuda
