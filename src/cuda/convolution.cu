// SPDX-License-Identifier: MIT
#include "cuda/convolution.cuh"

#include <algorithm>
#include <type_traits>

#include "cuda/image_planes.cuh"
#include "cuda/launch.cuh"
#include "cuda/vector.cuh"
#include "cuda/warp_matrix.cuh"
#include "cuda/warpgroup_matrix.cuh"

namespace df::cuda {

namespace {

// Warps of a team: two warpgroups. A block has two teams, each with its own tiles of pixels, so that one stores while the other multiplies.
constexpr int teams = 2, warps = 8, team_threads = 32 * warps, threads = teams * team_threads;
constexpr int length = 16, eights = length / 8;  // of the square of pixels that is a tile

// A team computes N channels of a tile, each of its warpgroups eight rows. The weights stay in shared memory, and the next C channels of
// x come while these are multiplied.
template <int Side_, int C_, int N_, bool transposed_>
struct ConvolutionTile {
  static constexpr int Side = Side_, C = C_, N = N_, taps = Side * Side;
  static constexpr bool transposed = transposed_;
  static constexpr int blocks_at_once = C == 16 ? 2 : 1;  // of a multiprocessor
  static constexpr int stages = Side == 7 ? 1 : 2;        // of pixels of a team
  using Input = ImagePlanes<C, 1, length, length, Side / 2, Side / 2>;
  // Weights of a tap lie by eights of what is innermost in w, each with a line for all there is of the other, and one to spare: so that
  // neighbours of w come to different banks.
  static constexpr int parts = (transposed ? N : C) / 8, lines = transposed ? C : N, plane_bytes = (lines + 1) * 16;
  static constexpr int tap_bytes = parts * plane_bytes, weight_bytes = taps * tap_bytes;
  static constexpr size_t shared_bytes(int chunks) { return teams * stages * Input::bytes + chunks * weight_bytes; }
  using Sums = float[eights][N / 8][4];  // of 8 x 8 pixels beside each other

  // N x C weights of each tap on their way to shared memory: a thread has those of a tap and a part, of some lines.
  struct Weights {
    static constexpr int slots = taps * parts, at_once = threads / slots < lines ? threads / slots : lines;
    static constexpr int turns = (lines + at_once - 1) / at_once, ahead = turns < 6 ? turns : 6;
    const __nv_bfloat16* from;
    unsigned to;
    int own, row;
    uint4 value[ahead];
    __device__ Weights(unsigned to, const Convolution& c, const __nv_bfloat16* w, int out, int in)
        : own(threadIdx.x / slots), row(taps * c.row) {
      const int slot = threadIdx.x % slots, tap = slot / parts, part = slot % parts;
      from = w + ((transposed ? in : out) * taps + tap) * c.row + (transposed ? out : in) + 8 * part;
      this->to = to + tap * tap_bytes + part * plane_bytes;
    }
    __device__ bool there(int turn) const { return own < at_once && own + turn * at_once < lines; }
    __device__ void fetch(int turn) {
#pragma unroll
      for (int i = 0; i < ahead; ++i)
        if (there(turn + i)) value[i] = load_packed(from + (own + (turn + i) * at_once) * row);
    }
    __device__ void store(int turn) {
#pragma unroll
      for (int i = 0; i < ahead; ++i)
        if (there(turn + i)) store_shared(to + (own + (turn + i) * at_once) * 16, value[i]);
    }
    // What is left of them after the first turns.
    __device__ void copy_rest() {
      for (int turn = ahead; turn < turns; turn += ahead) {
        fetch(turn);
        store(turn);
      }
    }
  };

  // Starts it. group: the warpgroup.
  static __device__ inline void multiply(Sums& sum, unsigned x, unsigned w, int group) {
    const uint64_t pixels = matrix_blocks(x + group * 8 * Input::row_bytes, Input::plane_bytes, Input::row_bytes);
    const uint64_t weights = transposed ? matrix_blocks(w, 128, plane_bytes) : matrix_blocks(w, plane_bytes, 128);
    constexpr int step_bytes = transposed ? 2 * 128 : 2 * plane_bytes, rows_at_once = Side == 3 ? 3 : 1;
#pragma unroll rows_at_once
    for (int row = 0; row < Side; ++row)
#pragma unroll
      for (int column = 0; column < Side; ++column)
#pragma unroll
        for (int step = 0; step < C / 16; ++step) {
          const int from_row = transposed ? Side - 1 - row : row, from_column = transposed ? Side - 1 - column : column;
          const uint64_t a = further(pixels, from_row * Input::row_bytes + from_column * 16 + step * 2 * Input::plane_bytes);
          const uint64_t b = further(weights, (row * Side + column) * tap_bytes + step * step_bytes);
#pragma unroll
          for (int i = 0; i < eights; ++i) multiply_add<false, transposed>(sum[i], further(a, i * 8 * 16), b);
        }
  }
};

__host__ __device__ int columns(const ConvolutionShape& s) { return s.width / length; }
__host__ __device__ int rows(const ConvolutionShape& s) { return s.height / length; }
__host__ __device__ int tiles(const ConvolutionShape& s) { return s.images * rows(s) * columns(s); }

// C channels of a tile.
struct Piece {
  int image, row, column, chunk;
  __device__ int y() const { return row * length; }
  __device__ int x() const { return column * length; }
};

// Pieces of a team: all chunks of each of its tiles, one after the other. No division from one to the next.
struct Pieces {
  Piece now;
  int tiles_left, step, step_image, step_row, step_column;
  __device__ Pieces(const ConvolutionShape& s, int tile, int step)
      : now{tile / (rows(s) * columns(s)), tile / columns(s) % rows(s), tile % columns(s), 0},
        tiles_left(tiles(s) - tile),
        step(step),
        step_image(step / (rows(s) * columns(s))),
        step_row(step / columns(s) % rows(s)),
        step_column(step % columns(s)) {}
  __device__ bool done() const { return tiles_left <= 0; }
  __device__ void move(const ConvolutionShape& s, int chunks) {
    if (++now.chunk < chunks) return;
    now.chunk = 0;
    tiles_left -= step;
    now.column += step_column;
    now.row += step_row;
    now.image += step_image;
    if (now.column >= columns(s)) {
      now.column -= columns(s);
      ++now.row;
    }
    if (now.row >= rows(s)) {
      now.row -= rows(s);
      ++now.image;
    }
  }
};

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

// Where a lane's parts of its warpgroup's pixels lie in images of `row` channels, of which `out` is the first: eight channels of a pixel
// are exchanged among four lanes, so that a lane has channels 16 j on or 8 more, of pixel g of one line of eight or of the next.
struct Parts {
  size_t first;
  int eight;  // pixels
  __device__ Parts(const ConvolutionShape& s, const Piece& at, int row, int out) : eight(8 * row) {
    const int t = lane_place(), line = at.y() + threadIdx.x % team_threads / 32 * 2 + t % 2;
    first = (static_cast<size_t>(at.image * s.height + line) * s.width + at.x() + lane_group()) * row + out + t / 2 * 8;
  }
  __device__ size_t at(int i, int j) const { return first + i * eight + 16 * j; }
};

// Of a lane's channels those of an image's bias, before they are exchanged.
template <int N>
struct Bias {
  float value[N / 8][2];
  __device__ Bias(const ImageVector& bias, int image, int out) {
#pragma unroll
    for (int j = 0; j < N / 8; ++j)
#pragma unroll
      for (int k = 0; k < 2; ++k) value[j][k] = value_of(bias, image, out + 8 * j + 2 * lane_place() + k);
  }
};

// What is to be added to a lane's channels after they have been exchanged.
template <int N>
struct Addend {
  uint4 value[eights][N / 16];
  __device__ void load(const __nv_bfloat16* from, const Parts& parts) {
#pragma unroll
    for (int i = 0; i < eights; ++i)
#pragma unroll
      for (int j = 0; j < N / 16; ++j) value[i][j] = from ? load_packed(from + parts.at(i, j)) : uint4{};
  }
};

template <int N>
__device__ inline void store_tile(const float (&sum)[eights][N / 8][4], const Bias<N>& bias, const Addend<N>& more, bool add,
                                  const Parts& parts, __nv_bfloat16* y) {
#pragma unroll
  for (int i = 0; i < eights; ++i)
#pragma unroll
    for (int j = 0; j < N / 16; ++j) {
      const float(&low)[4] = sum[i][2 * j], (&high)[4] = sum[i][2 * j + 1];
      const float(&a)[2] = bias.value[2 * j], (&b)[2] = bias.value[2 * j + 1];
      unsigned pairs[4] = {pack(low[0] + a[0], low[1] + a[1]), pack(low[2] + a[0], low[3] + a[1]), pack(high[0] + b[0], high[1] + b[1]),
                           pack(high[2] + b[0], high[3] + b[1])};
      uint4 eight = exchange(pairs);
      if (add) {
        auto all = unpack<__nv_bfloat16>(eight);
        const auto also = unpack<__nv_bfloat16>(more.value[i][j]);
#pragma unroll
        for (int k = 0; k < 8; ++k) all.value[k] += also.value[k];
        eight = packed(all);
      }
      store_packed(y + parts.at(i, j), eight);
    }
}

__device__ inline void sync_team(int team) { asm volatile("bar.sync %0, %1;" ::"r"(1 + team), "n"(team_threads) : "memory"); }

// split: what is read or, transposed, what is written are two images, of C and of N channels each.
template <class Tile, bool split>
__global__ void __launch_bounds__(threads, Tile::blocks_at_once)
    convolution_kernel(Convolution c, const __grid_constant__ ConvolutionImages images, const __nv_bfloat16* w) {
  extern __shared__ __align__(128) unsigned char memory[];
  using Input = typename Tile::Input;
  constexpr bool two_in = split && !Tile::transposed, two_out = split && Tile::transposed;
  const ConvolutionShape& s = c.shape;
  const int chunks = two_in ? 2 : s.in / Tile::C, out = blockIdx.y * Tile::N;
  const int warp = uniform(threadIdx.x / 32), team = warp / warps, group = warp % warps / 4;
  const unsigned weights = shared_address(memory), stages = weights + chunks * Tile::weight_bytes + team * (Tile::stages * Input::bytes);
  Pieces pieces(s, blockIdx.x + team * gridDim.x, teams * gridDim.x), coming = pieces;
  using Copy = typename Input::template Copy<warps>;
  const auto fetch = [&](Copy& copy) {
    const Piece& at = coming.now;
    const Images from{two_in && at.chunk == 1 ? images.x[1] : images.x[0], s.images, s.height, s.width, two_in ? Tile::C : s.in};
    copy.fetch(from, warp % warps, at.image, at.y(), at.x(), two_in ? 0 : at.chunk * Tile::C);
    coming.move(s, chunks);
  };
  for (int chunk = 0; chunk < chunks; ++chunk) {
    typename Tile::Weights of_chunk(weights + chunk * Tile::weight_bytes, c, w, out, chunk * Tile::C);
    of_chunk.fetch(0);
    if (chunk == 0 && !coming.done()) {
      Copy copy;
      fetch(copy);
      of_chunk.store(0);
      copy.store(stages, warp % warps);
    } else {
      of_chunk.store(0);
    }
    of_chunk.copy_rest();
  }
  show_to_products();
  __syncthreads();
  const bool second = two_out && blockIdx.y == 1;
  const __nv_bfloat16* more = second ? images.more[1] : images.more[0];
  for (int stage = 0; !pieces.done();) {
    typename Tile::Sums sum = {};
    const Piece tile = pieces.now;
    const Parts parts(s, tile, two_out ? Tile::N : s.out, two_out ? 0 : out);
    const Bias<Tile::N> bias(Tile::transposed ? ImageVector{} : images.bias, tile.image, out);
    Addend<Tile::N> addend;
    for (int chunk = 0; chunk < chunks; ++chunk) {
      show_to_products();
      sync_team(team);  // and none of it reads the other stage any more
      begin_products();
      Tile::multiply(sum, stages + stage * Input::bytes, weights + chunk * Tile::weight_bytes, group);
      end_products();
      const bool last = coming.done();
      Copy copy;
      if (!last) fetch(copy);
      if (Tile::stages == 2) {
        stage = 1 - stage;
        if (!last) copy.store(stages + stage * Input::bytes, warp % warps);
      }
      if (Tile::transposed && chunk + 1 == chunks) addend.load(more, parts);
      wait_for_products(sum);
      if (Tile::stages == 1) {
        sync_team(team);
        if (!last) copy.store(stages, warp % warps);
      }
      pieces.move(s, chunks);
    }
    store_tile<Tile::N>(sum, bias, addend, Tile::transposed && more, parts, second ? images.y[1] : images.y[0]);
  }
}

// Calls f with the tile for these sizes; false where there is none.
template <class F>
bool with_tile(const Convolution& c, F&& f) {
  const ConvolutionShape& s = c.shape;
  if (s.width % length != 0 || s.height % length != 0) return false;
  const auto with = [&](auto as_it_is, auto transposed, auto split) {
    c.transposed ? f(transposed, split) : f(as_it_is, split);
    return true;
  };
  if (c.first_in != s.in || c.first_out != s.out) {
    const bool halves = c.transposed ? s.in == 48 && s.out == 96 && c.first_out == 48 : s.in == 96 && s.out == 48 && c.first_in == 48;
    if (halves && s.side == 3) return with(ConvolutionTile<3, 48, 48, false>(), ConvolutionTile<3, 48, 48, true>(), std::true_type());
    if (halves && s.side == 1) return with(ConvolutionTile<1, 48, 48, false>(), ConvolutionTile<1, 48, 48, true>(), std::true_type());
    return false;
  }
  if (s.side == 3 && s.in % 48 == 0 && s.in <= 96 && s.out % 48 == 0)
    return with(ConvolutionTile<3, 48, 48, false>(), ConvolutionTile<3, 48, 48, true>(), std::false_type());
  if (s.side == 3 && s.in == 16 && s.out == 16)
    return with(ConvolutionTile<3, 16, 16, false>(), ConvolutionTile<3, 16, 16, true>(), std::false_type());
  if (s.side == 7 && (c.transposed ? s.in == 48 && s.out == 16 : s.in == 32 && s.out == 48))
    return with(ConvolutionTile<7, 32, 48, false>(), ConvolutionTile<7, 48, 16, true>(), std::false_type());
  return false;
}

// As many blocks as run at once, each with as many tiles as the others where that is possible.
template <class Tile>
Launch launch_of(const ConvolutionShape& s, int multiprocessors) {
  const int outs = s.out / Tile::N, at_once = std::max(1, multiprocessors * Tile::blocks_at_once / outs);
  const int each = (tiles(s) + at_once - 1) / at_once;
  return {dim3((tiles(s) + each - 1) / each, outs), threads, Tile::shared_bytes(s.in / Tile::C)};
}

}  // namespace

bool convolution_fits(const Convolution& c, int multiprocessors) {
  bool busy = false;
  return with_tile(c, [&](auto tile, auto) { busy = 2 * tiles(c.shape) * (c.shape.out / decltype(tile)::N) >= multiprocessors; }) && busy;
}

cudaError_t convolution(const Convolution& c, int multiprocessors, const ConvolutionImages& images, const __nv_bfloat16* w,
                        cudaStream_t stream) {
  cudaError_t error = cudaErrorInvalidValue;
  with_tile(c, [&](auto tile, auto split) {
    using Tile = decltype(tile);
    error = launch(convolution_kernel<Tile, split>, launch_of<Tile>(c.shape, multiprocessors), stream, c, images, w);
  });
  return error;
}

}  // namespace df::cuda
