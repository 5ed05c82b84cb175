// SPDX-License-Identifier: MIT
// Group normalisation in one kernel. A block holds some groups of a part of an image in registers, sixteen bytes of a pixel in each; what
// the norm needs to know of a channel is added up over the block and then over the blocks of its cluster, which have the rest of the image,
// by reading their shared memory in a fixed order. Results do not depend on the order in which blocks run.
#include <cooperative_groups.h>

#include <numeric>

#include "cuda/group_norm.cuh"
#include "cuda/group_norm_math.cuh"
#include "cuda/launch.cuh"
#include "cuda/vector.cuh"

namespace df::cuda {

namespace {

namespace cg = cooperative_groups;

constexpr int threads = 256, warps = threads / 32;
constexpr int most_channels = threads;  // of a block: a thread for each
constexpr int most_vectors = 8;         // of a thread
template <int P>
constexpr int blocks_a_multiprocessor = P > 2 ? 2 : 3;

// A set of groups is worked on by `cluster` blocks of `chunk` pixels each.
struct Tile {
  int channels;       // of the set
  int columns, rows;  // threads of a block: a vector of each pixel; pixels
  int chunk, cluster, vectors;
};

// Where the vectors of this thread lie.
struct Place {
  int n, first;      // image, first channel of the set
  int column, rank;  // first channel of the vectors in the set; which part of the image
  int row, rows, count;
  size_t start, step;  // of the first vector, and from one to the next

  template <class T>
  __device__ Place(const GroupNormShape& s, const Tile& tile, const T*) {
    const int begin = (blockIdx.x % tile.cluster) * tile.chunk;
    n = blockIdx.x / tile.cluster;
    rank = blockIdx.x % tile.cluster;
    first = blockIdx.y * tile.channels;
    column = threadIdx.x % tile.columns * Vector<T>::size;
    row = threadIdx.x / tile.columns;
    rows = tile.rows;
    count = row < rows ? min(tile.chunk, s.pixels - begin) : 0;
    start = (static_cast<size_t>(n) * s.pixels + begin + row) * s.channels + first + column;
    step = static_cast<size_t>(rows) * s.channels;
  }
  __device__ bool has(int i) const { return row + i * rows < count; }
  __device__ size_t at(int i) const { return start + i * step; }
};

// All loads are on their way before the first is used.
template <class T, int P>
__device__ void read(uint4 (&packed)[P], const T* from, const Place& place) {
#pragma unroll
  for (int i = 0; i < P; ++i) packed[i] = place.has(i) ? load_packed(from + place.at(i)) : uint4{};
}

template <class F>
__device__ F warp_sum(F value) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
  return value;
}

// Sums over the pixels of an image for each channel of a set.
template <int K, int V>
struct Totals {
  float scratch[K * V * threads], part[K * most_channels], all[K * most_channels];

  // To be called by all threads of a cluster: [K][channels], for the block. The cluster must not end before every block has read what
  // others have: finish() at the end.
  __device__ const float* add(const float (&sums)[K][V], const Tile& tile) {
#pragma unroll
    for (int k = 0; k < K; ++k)
#pragma unroll
      for (int i = 0; i < V; ++i) scratch[(k * V + i) * threads + threadIdx.x] = sums[k][i];
    __syncthreads();
    // Lanes take whole rows, so that each stays in its column.
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, columns = tile.columns, abreast = 32 / columns;
    for (int s = warp; s < K * V; s += warps) {
      float sum = 0.0f;
      if (lane < abreast * columns)
        for (int t = lane; t < threads; t += abreast * columns) sum += scratch[s * threads + t];
#pragma unroll
      for (int step = 16; step > 0; step /= 2) {
        const float other = __shfl_down_sync(0xffffffffu, sum, step * columns);
        if (lane / columns + step < abreast) sum += other;
      }
      if (lane < columns) part[s / V * tile.channels + lane * V + s % V] = sum;
    }
    if (tile.cluster == 1) {
      __syncthreads();
      return part;
    }
    const auto cluster = cg::this_cluster();
    cluster.sync();
    for (int i = threadIdx.x; i < K * tile.channels; i += threads) {
      float sum = 0.0f;
      for (int rank = 0; rank < tile.cluster; ++rank) sum += *cluster.map_shared_rank(part + i, rank);
      all[i] = sum;
    }
    // Nothing was written that others would have to see.
    asm volatile("barrier.cluster.arrive.relaxed;" ::: "memory");
    __syncthreads();
    return all;
  }
  __device__ static void finish(const Tile& tile) {
    if (tile.cluster > 1) asm volatile("barrier.cluster.wait;" ::: "memory");
  }
};

// Calls f(group of the set, a sum over its channels, another) with the sums of first(c) and second(c).
template <class F, class A, class B, class Then>
__device__ void each_group(int channels, int per_group, A&& first, B&& second, Then&& then) {
  const int lane = threadIdx.x % 32;
  for (int g = threadIdx.x / 32; g < channels / per_group; g += warps) {
    F a = 0, b = 0;
    for (int c = g * per_group + lane; c < (g + 1) * per_group; c += 32) {
      a += first(c);
      b += second(c);
    }
    a = warp_sum(a);
    b = warp_sum(b);
    if (lane == 0) then(g, a, b);
  }
  __syncthreads();
}

template <class T, Activation A, int P>
__global__ void __launch_bounds__(threads, blocks_a_multiprocessor<P>)
    forward_kernel(GroupNormShape s, Tile tile, GroupNormParameters p, const T* x, const T* residual, float* stats, T* y) {
  constexpr int V = Vector<T>::size;
  __shared__ Totals<2, V> shared;
  __shared__ float moments[2 * most_channels];
  __shared__ __align__(16) float x_bias[most_channels], scale[most_channels], shift[most_channels], more[most_channels];
  const Place place(s, tile, x);
  uint4 values[P], rest[P];
  read(values, x, place);
  if (residual) read(rest, residual, place);
  const int per_group = s.channels / s.groups, c = threadIdx.x;  // a channel of the set, where there are as many
  float my_gain = 0.0f, my_shift = 0.0f;
  if (c < tile.channels) {
    my_gain = value_of(p.gain, place.n, place.first + c);
    my_shift = value_of(p.shift, place.n, place.first + c);
    x_bias[c] = value_of(p.x_bias, place.n, place.first + c);
    more[c] = value_of(p.residual_bias, place.n, place.first + c);
  }
  __syncthreads();
  float bias[V], sums[2][V] = {};
  take(bias, x_bias + place.column);
#pragma unroll
  for (int i = 0; i < P; ++i)
    if (place.has(i)) {
      const auto v = unpack<T>(values[i]);
#pragma unroll
      for (int j = 0; j < V; ++j) {
        const float value = v.value[j] + bias[j];
        sums[0][j] += value;
        sums[1][j] += value * value;
      }
    }
  const float* totals = shared.add(sums, tile);

  float *moments_out = moments_of(s, stats, place.n) + 2 * (place.first / per_group), *sums_out = sums_of(s, stats, place.n) + place.first;
  const double count = static_cast<double>(s.pixels) * per_group;
  each_group<double>(
      tile.channels, per_group, [&](int i) { return totals[i]; }, [&](int i) { return totals[tile.channels + i]; },
      [&](int g, double sum, double squares) {
        const double mean = sum / count;
        moments[2 * g] = static_cast<float>(mean);
        moments[2 * g + 1] = rsqrtf(static_cast<float>(fmax(squares / count - mean * mean, 0.0)) + s.eps);
        if (place.rank > 0) return;
        moments_out[2 * g] = moments[2 * g];
        moments_out[2 * g + 1] = moments[2 * g + 1];
      });
  if (c < tile.channels) {
    const int g = c / per_group;
    const Channel ch = channel(my_gain, my_shift, x_bias[c], moments[2 * g], moments[2 * g + 1]);
    scale[c] = ch.scale;
    shift[c] = ch.shift;
    if (place.rank == 0) sums_out[c] = totals[c];
  }
  __syncthreads();
  float a[V], b[V], added[V];
  take(a, scale + place.column);
  take(b, shift + place.column);
  take(added, more + place.column);
#pragma unroll
  for (int i = 0; i < P; ++i)
    if (place.has(i)) {
      auto v = unpack<T>(values[i]);
#pragma unroll
      for (int j = 0; j < V; ++j) v.value[j] = activated<A>(a[j] * v.value[j] + b[j]) + added[j];
      if (residual) {
        const auto r = unpack<T>(rest[i]);
#pragma unroll
        for (int j = 0; j < V; ++j) v.value[j] += r.value[j];
      }
      store(y + place.at(i), v);
    }
  shared.finish(tile);
}

template <class T, Activation A, int P>
__global__ void __launch_bounds__(threads, blocks_a_multiprocessor<P>)
    backward_kernel(GroupNormShape s, Tile tile, GroupNormParameters p, const T* x, const T* dy, const float* stats, T* dx,
                    float* dvectors) {
  constexpr int V = Vector<T>::size;
  __shared__ Totals<3, V> shared;
  __shared__ float means[2 * most_channels], gain[most_channels];
  __shared__ __align__(16) float scale[most_channels], shift[most_channels], offset[most_channels], by_x[most_channels];
  __shared__ __align__(16) float constant[most_channels];
  const Place place(s, tile, x);
  uint4 values[P], upstream[P];
  read(values, x, place);
  read(upstream, dy, place);
  const int per_group = s.channels / s.groups, c = threadIdx.x;
  const float* moments = moments_of(s, stats, place.n) + 2 * (place.first / per_group);
  Channel mine{};
  float mean = 0.0f;
  if (c < tile.channels) {
    const int at = place.first + c, g = c / per_group;
    mean = moments[2 * g];
    mine =
        channel(value_of(p.gain, place.n, at), value_of(p.shift, place.n, at), value_of(p.x_bias, place.n, at), mean, moments[2 * g + 1]);
    gain[c] = mine.gain;
    scale[c] = mine.scale;
    shift[c] = mine.shift;
    offset[c] = mine.offset;
  }
  __syncthreads();
  float a[V], b[V], centre[V], sums[3][V] = {};
  take(a, scale + place.column);
  take(b, shift + place.column);
  take(centre, offset + place.column);
#pragma unroll
  for (int i = 0; i < P; ++i)
    if (place.has(i)) {
      const auto v = unpack<T>(values[i]), dv = unpack<T>(upstream[i]);
#pragma unroll
      for (int j = 0; j < V; ++j) {
        const float d = dv.value[j] * activation_slope<A>(a[j] * v.value[j] + b[j]);
        sums[0][j] += d;
        sums[1][j] += d * (v.value[j] + centre[j]);
        sums[2][j] += dv.value[j];
      }
    }
  const float* totals = shared.add(sums, tile);

  const float *sum_d = totals, *sum_dx = totals + tile.channels, *sum_dy = totals + 2 * tile.channels;
  const float count = static_cast<float>(s.pixels) * per_group;
  each_group<float>(
      tile.channels, per_group, [&](int i) { return gain[i] * sum_d[i]; }, [&](int i) { return gain[i] * sum_dx[i]; },
      [&](int g, float first, float second) {
        means[2 * g] = first / count;
        means[2 * g + 1] = second * moments[2 * g + 1] / count;
      });
  if (c < tile.channels) {
    const int g = c / per_group;
    by_x[c] = -mine.inverse * mine.inverse * means[2 * g + 1];
    constant[c] = by_x[c] * mine.offset - mine.inverse * means[2 * g];
    if (place.rank == 0)
      write_gradients(mine, mean, sum_d[c], sum_dx[c], sum_dy[c], sums_of(s, stats, place.n)[place.first + c], s.pixels, means[2 * g],
                      means[2 * g + 1], dvectors + static_cast<size_t>(place.n) * s.channels + place.first + c,
                      static_cast<size_t>(s.images) * s.channels);
  }
  __syncthreads();
  float slope[V], level[V];
  take(slope, by_x + place.column);
  take(level, constant + place.column);
#pragma unroll
  for (int i = 0; i < P; ++i)
    if (place.has(i)) {
      const auto v = unpack<T>(values[i]), dv = unpack<T>(upstream[i]);
      Vector<T> out;
#pragma unroll
      for (int j = 0; j < V; ++j)
        out.value[j] = a[j] * dv.value[j] * activation_slope<A>(a[j] * v.value[j] + b[j]) + slope[j] * v.value[j] + level[j];
      store(dx + place.at(i), out);
    }
  shared.finish(tile);
}

// As few blocks an image as hold it; more where the device would not be full and a thread has much to do. vectors = 0: it does not fit.
template <class T>
Tile tile_of(const GroupNormShape& s) {
  constexpr int V = Vector<T>::size, sector = 32, blocks = 256;
  const int per_group = s.channels / s.groups;
  Tile tile{};
  tile.channels = std::lcm(per_group, V);
  if (s.channels % tile.channels != 0) return tile;
  if (tile.channels * static_cast<int>(sizeof(T)) < sector && s.channels % (2 * tile.channels) == 0) tile.channels *= 2;
  tile.columns = tile.channels / V;
  if (tile.channels > most_channels || tile.columns > 32) return tile;
  tile.rows = threads / tile.columns;
  const int parts = s.images * (s.channels / tile.channels);
  for (tile.cluster = 1; tile.cluster <= 8; tile.cluster *= 2) {
    tile.chunk = (s.pixels + tile.cluster - 1) / tile.cluster;
    tile.vectors = (tile.chunk + tile.rows - 1) / tile.rows;
    const bool enough = parts * tile.cluster >= blocks || tile.vectors <= 2 || tile.cluster == 8;
    if (tile.vectors <= most_vectors && enough) return tile;
  }
  tile.vectors = 0;
  return tile;
}

Launch launch_of(const GroupNormShape& s, const Tile& tile) {
  return {dim3(s.images * tile.cluster, s.channels / tile.channels), threads, 0, dim3(tile.cluster)};
}

}  // namespace

template <class T>
bool group_norm_fits(const GroupNormShape& s) {
  return tile_of<T>(s).vectors > 0;
}

template <class T, Activation A>
cudaError_t group_norm_at_once(const GroupNormShape& s, const GroupNormParameters& p, const T* x, const T* residual, float* stats, T* y,
                               cudaStream_t stream) {
  const Tile tile = tile_of<T>(s);
  const auto kernel = tile.vectors <= 1   ? forward_kernel<T, A, 1>
                      : tile.vectors <= 2 ? forward_kernel<T, A, 2>
                      : tile.vectors <= 4 ? forward_kernel<T, A, 4>
                                          : forward_kernel<T, A, most_vectors>;
  return launch(kernel, launch_of(s, tile), stream, s, tile, p, x, residual, stats, y);
}

template <class T, Activation A>
cudaError_t group_norm_backward_at_once(const GroupNormShape& s, const GroupNormParameters& p, const T* x, const T* dy, const float* stats,
                                        T* dx, float* dvectors, cudaStream_t stream) {
  const Tile tile = tile_of<T>(s);
  const auto kernel = tile.vectors <= 1   ? backward_kernel<T, A, 1>
                      : tile.vectors <= 2 ? backward_kernel<T, A, 2>
                      : tile.vectors <= 4 ? backward_kernel<T, A, 4>
                                          : backward_kernel<T, A, most_vectors>;
  return launch(kernel, launch_of(s, tile), stream, s, tile, p, x, dy, stats, dx, dvectors);
}

#define DF_INSTANCES(T, A)                                                                                                         \
  template cudaError_t group_norm_at_once<T, A>(const GroupNormShape&, const GroupNormParameters&, const T*, const T*, float*, T*, \
                                                cudaStream_t);                                                                     \
  template cudaError_t group_norm_backward_at_once<T, A>(const GroupNormShape&, const GroupNormParameters&, const T*, const T*,    \
                                                         const float*, T*, float*, cudaStream_t);
DF_INSTANCES(float, Activation::silu)
DF_INSTANCES(float, Activation::mish)
DF_INSTANCES(__nv_bfloat16, Activation::silu)
DF_INSTANCES(__nv_bfloat16, Activation::mish)
#undef DF_INSTANCES
template bool group_norm_fits<float>(const GroupNormShape&);
template bool group_norm_fits<__nv_bfloat16>(const GroupNormShape&);

}  // namespace df::cuda
