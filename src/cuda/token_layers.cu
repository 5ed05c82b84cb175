// SPDX-License-Identifier: MIT
// Rows of a batch never meet, so the blocks are divided into groups, one for each 16 rows, which wait for one another after every layer and
// for no other group. A block computes 16 rows x 8 S columns at a time, its warps each a part of the sum over inputs; a layer's first
// weights are on their way to registers while its group still works on the layer before.
#include <climits>

#include "cuda/gelu.cuh"
#include "cuda/token_layers.cuh"
#include "cuda/token_primitives.cuh"

namespace df::cuda {

namespace {

using bf16 = __nv_bfloat16;

constexpr int warps = 8, threads = 32 * warps, most_subtiles = 4;
constexpr int step = 32;  // inputs of two matrix instructions, 8 successive ones a thread: their order within a step does not matter

__device__ inline bf16* at(const TokenMatrix& m, int token, int row, int column) {
  return m.data + static_cast<size_t>(token) * m.to_token + static_cast<size_t>(row) * m.to_row + column;
}
__device__ inline float value(const TokenMatrix& m, int token, int row, int column) {
  return number(load_shared_bits(at(m, token, row, column)));
}
__device__ inline void set(const TokenMatrix& m, int token, int row, int column, float x) {
  *at(m, token, row, column) = __float2bfloat16_rn(x);
}
__device__ inline float rounded(float x) { return __bfloat162float(__float2bfloat16_rn(x)); }
__device__ inline float sigmoid(float x) { return __fdividef(1.0f, 1.0f + __expf(-x)); }

struct Gates {
  float r, u, n, h;  // h: the state's part of n
  __device__ Gates(float ar, float au, float an, float br, float bu, float bn)
      : r(sigmoid(ar + br)), u(sigmoid(au + bu)), n(tanhf(an + r * bn)), h(bn) {}
};

// Where a block is: its rows, and its place among the blocks that share them.
struct Place {
  int token, first_row, block, blocks;
};

// sum: partial sums of all warps at (row, column) of the tile.
template <int S>
struct Partial {
  static constexpr int stride = 8 * S + 8;
  float* data;  // [warps][16][stride]
  __device__ float* of(int warp, int row, int column) const { return data + (warp * token_tile + row) * stride + column; }
  __device__ float sum(int row, int column) const {
    float total = 0.0f;
#pragma unroll
    for (int warp = 0; warp < warps; ++warp) total += *of(warp, row, column);
    return total;
  }
};

// What a thread finishes, its i-th: (r, c) of the tile.
template <int S>
struct Item {
  static constexpr int columns = S == 3 ? 8 : 8 * S;  // a tile of three: the gates of eight units
  int r, c, row;
  __device__ Item(int thread, int i, int first_row) {
    const int index = thread + i * threads;
    r = index / columns, c = index % columns, row = r < token_tile ? first_row + r : INT_MAX;
  }
  __device__ int column(int tile) const { return columns * tile + c; }
};

// What dense layers add and multiply by, as it lies in memory: loaded before the sums are there, converted after.
struct Extra {
  unsigned short residual = 0, bias = 0, slope = 0;
  __device__ void load(const TokenLayerShape& layer, int token, int row, int column) {
    if (layer.residual.data) residual = load_shared_bits(at(layer.residual, token, row, column));
    if (layer.slope.data) slope = load_shared_bits(at(layer.slope, token, row, column));
    if (layer.bias) bias = load_shared_bits(layer.bias + column);
  }
};

__device__ inline void dense(const TokenLayerShape& layer, int token, int row, int column, float sum, const Extra& extra) {
  float y = sum + number(extra.residual) + number(extra.bias);
  if (layer.slope.data) y *= gelu_slope<bf16>(number(extra.slope));
  set(layer.out, token, row, column, y);
  if (column < layer.gelu_columns) set(layer.gelu, token, row, column, gelu<bf16>(y));
}

__device__ inline void gru(const TokenLayerShape& layer, const TokenCellShape& cell, int units, int token, int row, int unit, float r,
                           float u, float n) {
  if (layer.bias) {
    r += __bfloat162float(layer.bias[unit]);
    u += __bfloat162float(layer.bias[unit + units]);
    n += __bfloat162float(layer.bias[unit + 2 * units]);
  }
  r = rounded(r), u = rounded(u), n = rounded(n);
  set(cell.from_x, token, row, unit, r);
  set(cell.from_x, token, row, unit + units, u);
  set(cell.from_x, token, row, unit + 2 * units, n);
  const Gates g(r, u, n, value(cell.from_z, token, row, unit), value(cell.from_z, token, row, unit + units),
                value(cell.from_z, token, row, unit + 2 * units));
  set(cell.y, token, row, unit, g.n + g.u * (value(cell.z, token, row, unit) - g.n));
}

__device__ inline void gru_backward(const TokenCellShape& cell, int units, int token, int row, int unit, float dy) {
  const auto gate = [&](const TokenMatrix& m, int i) { return value(m, token, row, unit + i * units); };
  const Gates g(gate(cell.from_x, 0), gate(cell.from_x, 1), gate(cell.from_x, 2), gate(cell.from_z, 0), gate(cell.from_z, 1),
                gate(cell.from_z, 2));
  const float z = gate(cell.z, 0), dz = gate(cell.dz, 0);
  const float dn = dy * (1.0f - g.u) * (1.0f - g.n * g.n), du = dy * (z - g.n) * g.u * (1.0f - g.u), dr = dn * g.h * g.r * (1.0f - g.r);
  set(cell.dz, token, row, unit, dz + dy * g.u);
  set(cell.dfrom_x, token, row, unit, dr);
  set(cell.dfrom_x, token, row, unit + units, du);
  set(cell.dfrom_x, token, row, unit + 2 * units, dn);
  set(cell.dfrom_z, token, row, unit, dr);
  set(cell.dfrom_z, token, row, unit + units, du);
  set(cell.dfrom_z, token, row, unit + 2 * units, dn * g.r);
}

// One layer of one token for the block's rows. Waits for `arrivals` of its group before it reads what other layers wrote (0: does not).
template <int S>
__device__ inline void run_layer(const TokenNetwork& net, const TokenLayerShape& layer, const Place& place, unsigned* arrived,
                                 unsigned arrivals, float* shared) {
  constexpr int ahead = S == 1 ? 10 : 4;  // steps of a warp whose operands are loaded together: 2560 or 1024 inputs
  const int thread = fresh_thread_index(), lane = thread % 32, warp = thread / 32, row = lane / 4, part = 8 * (lane % 4);
  constexpr int finishes = (token_tile * Item<S>::columns + threads - 1) / threads;
  constexpr bool by_unit = S == 3;
  const int tiles = by_unit ? net.units / 8 : (layer.columns + 8 * S - 1) / (8 * S);
  const Partial<S> partial{shared};
  uint4 w[ahead][S];
  const auto load_weights = [&](int tile, int begin) {
#pragma unroll
    for (int s = 0; s < S; ++s) {
      const int column = by_unit ? s * net.units + 8 * tile + row : 8 * (S * tile + s) + row;
      const int left = column < layer.columns ? layer.inputs - begin - part : 0;
      const bf16* const from = layer.w + static_cast<size_t>(column) * layer.w_stride + begin + part;
#pragma unroll
      for (int i = 0; i < ahead; ++i) w[i][s] = i * warps * step < left ? load_constant(from + i * warps * step) : uint4{0, 0, 0, 0};
    }
  };
  load_weights(place.block, warp * step);  // by blocks without a tile too, or registers would be kept for what they have not loaded
  if (arrivals > 0) wait_for(arrived, arrivals);
  for (int tile = place.block; tile < tiles; tile += place.blocks) {
    // What this thread finishes.
    Extra extra[finishes];
    if (layer.kind == TokenLayerKind::dense)
#pragma unroll
      for (int i = 0; i < finishes; ++i)
        if (const Item<S> item(thread, i, place.first_row); item.row < net.rows && item.column(tile) < layer.columns)
          extra[i].load(layer, place.token, item.row, item.column(tile));
    float sums[2][S][4] = {};  // of even and odd steps: shorter chains of dependent instructions
    for (int begin = warp * step; begin < layer.inputs; begin += ahead * warps * step) {
      if (tile != place.block || begin != warp * step) load_weights(tile, begin);
      uint4 x[ahead][2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int source = place.first_row + row + 8 * half, left = source < net.rows ? layer.inputs - begin - part : 0;
        const bf16* const from = at(layer.x, place.token, source, begin + part);
#pragma unroll
        for (int i = 0; i < ahead; ++i) x[i][half] = i * warps * step < left ? load_shared(from + i * warps * step) : uint4{0, 0, 0, 0};
      }
      all_on_their_way();
#pragma unroll
      for (int i = 0; i < ahead; ++i)
        if (begin + i * warps * step < layer.inputs)
#pragma unroll
          for (int s = 0; s < S; ++s) {
            multiply(sums[i % 2][s], x[i][0].x, x[i][1].x, x[i][0].y, x[i][1].y, w[i][s].x, w[i][s].y);
            multiply(sums[i % 2][s], x[i][0].z, x[i][1].z, x[i][0].w, x[i][1].w, w[i][s].z, w[i][s].w);
          }
    }
#pragma unroll
    for (int s = 0; s < S; ++s) {
      float *upper = partial.of(warp, row, 8 * s + 2 * (lane % 4)), *lower = partial.of(warp, row + 8, 8 * s + 2 * (lane % 4));
      upper[0] = sums[0][s][0] + sums[1][s][0], upper[1] = sums[0][s][1] + sums[1][s][1];
      lower[0] = sums[0][s][2] + sums[1][s][2], lower[1] = sums[0][s][3] + sums[1][s][3];
    }
    synchronize_block();
#pragma unroll
    for (int i = 0; i < finishes; ++i) {
      const Item<S> item(thread, i, place.first_row);
      if (item.row >= net.rows) continue;
      if constexpr (S == 3) {
        gru(layer, net.cell, net.units, place.token, item.row, 8 * tile + item.c, partial.sum(item.r, item.c),
            partial.sum(item.r, 8 + item.c), partial.sum(item.r, 16 + item.c));
      } else {
        const int column = item.column(tile);
        if (column >= layer.columns) continue;
        const float sum = partial.sum(item.r, item.c);
        if (layer.kind == TokenLayerKind::dense)
          dense(layer, place.token, item.row, column, sum, extra[i]);
        else
          gru_backward(net.cell, net.units, place.token, item.row, column, sum);
      }
    }
    if (tile + place.blocks < tiles) synchronize_block();
  }
}

// The layers of one token after the other. gridDim: blocks of a group, groups.
__global__ void __launch_bounds__(threads, 1) run_network(const __grid_constant__ TokenNetwork net) {
  __shared__ float shared[warps * token_tile * (8 * most_subtiles + 8)];
  unsigned* const arrived = net.arrived + blockIdx.y;
  const int steps = net.count * net.tokens;
  for (int i = 0; i < steps; ++i) {
    const int token = i / net.count;
    const TokenLayerShape& layer = net.layers[i % net.count];
    const Place place{net.reverse ? net.tokens - 1 - token : token, static_cast<int>(blockIdx.y) * token_tile, static_cast<int>(blockIdx.x),
                      static_cast<int>(gridDim.x)};
    const unsigned arrivals = static_cast<unsigned>(i) * gridDim.x;
    switch (layer.subtiles) {
      case 1:
        run_layer<1>(net, layer, place, arrived, arrivals, shared);
        break;
      case 2:
        run_layer<2>(net, layer, place, arrived, arrivals, shared);
        break;
      case 3:
        run_layer<3>(net, layer, place, arrived, arrivals, shared);
        break;
      default:
        run_layer<4>(net, layer, place, arrived, arrivals, shared);
    }
    if (i + 1 < steps) arrive(arrived);
  }
}

}  // namespace

cudaError_t token_layers(TokenNetwork net, int multiprocessors, cudaStream_t stream) {
  const int groups = (net.rows + token_tile - 1) / token_tile, blocks = multiprocessors / groups > 0 ? multiprocessors / groups : 1;
  for (int i = 0; i < net.count; ++i) {
    TokenLayerShape& layer = net.layers[i];
    layer.subtiles = 1;
    while (layer.subtiles < most_subtiles && (layer.columns + 8 * layer.subtiles - 1) / (8 * layer.subtiles) > blocks) layer.subtiles *= 2;
    if (layer.kind == TokenLayerKind::gru) layer.subtiles = 3;
  }
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(groups));
  config.blockDim = dim3(threads);
  config.stream = stream;
  cudaLaunchAttribute cooperative{};  // all blocks at once or an error: they wait for one another
  cooperative.id = cudaLaunchAttributeCooperative;
  cooperative.val.cooperative = 1;
  config.attrs = &cooperative;
  config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, run_network, net);
}

}  // namespace df::cuda
