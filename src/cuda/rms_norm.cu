// SPDX-License-Identifier: MIT
// A group of lanes (a power of two, at most a warp) holds one pixel. Going back, an image is worked on by the blocks of a cluster: what
// they find for its vectors is added up over a block and then over the cluster, by reading the blocks' shared memory, always in the same
// order.
#include "cuda/rms_norm.cuh"

#include <cooperative_groups.h>

#include <algorithm>
#include <type_traits>

#include "cuda/launch.cuh"
#include "cuda/vector.cuh"

namespace df::cuda {

namespace {

namespace cg = cooperative_groups;

// Threads of a block and blocks of a multiprocessor, as many as registers allow.
constexpr int threads = 256;
template <int Parts>
constexpr int blocks_at_once = Parts == 1 ? 6 : 8 / Parts;
// Going back, a thread has as many registers as let so many threads run on a multiprocessor: three blocks of 256, two of 384 or one of 512.
template <int Parts>
constexpr int backward_threads_at_once = Parts == 1 ? 768 : (Parts == 2 ? 512 : 256);
template <int Parts>
constexpr int most_backward_threads = Parts == 4 ? 256 : 512;
constexpr int most_blocks = 8;  // of a cluster

// Over the lanes of a pixel.
template <int Lanes>
__device__ inline float lane_sum(float value) {
#pragma unroll
  for (int step = Lanes / 2; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step, Lanes);
  return value;
}
// Over the pixels of a warp, for each lane of a pixel.
template <int Lanes>
__device__ inline float pixel_sum(float value) {
#pragma unroll
  for (int step = 16; step >= Lanes; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
  return value;
}

// Lane `lane` of a pixel holds vectors lane, lane + Lanes, ... (Parts of them).
template <class T, int Lanes, int Parts>
struct Pixel {
  static constexpr int V = Vector<T>::size;
  Vector<T> part[Parts];

  __device__ static bool inside(int lane, int k, int channels) { return (lane + k * Lanes) * V < channels; }
  __device__ void read(const T* row, int lane, int channels) {
#pragma unroll
    for (int k = 0; k < Parts; ++k) {
      if (inside(lane, k, channels)) {
        part[k] = load(row + (lane + k * Lanes) * V);
      } else {
#pragma unroll
        for (int i = 0; i < V; ++i) part[k].value[i] = 0.0f;
      }
    }
  }
  __device__ void read(const float* row, int lane, int channels, float missing) {
#pragma unroll
    for (int k = 0; k < Parts; ++k)
#pragma unroll
      for (int i = 0; i < V; ++i) part[k].value[i] = row && inside(lane, k, channels) ? row[(lane + k * Lanes) * V + i] : missing;
  }
  __device__ void write(T* row, int lane, int channels) const {
#pragma unroll
    for (int k = 0; k < Parts; ++k)
      if (inside(lane, k, channels)) store(row + (lane + k * Lanes) * V, part[k]);
  }
  template <class F>
  __device__ void each(F&& f) {
#pragma unroll
    for (int k = 0; k < Parts; ++k)
#pragma unroll
      for (int i = 0; i < V; ++i) f(k, i, part[k].value[i]);
  }
};

// The same of a pixel before `end`, as it lies in memory; zeros of others.
template <class T, int Lanes, int Parts>
struct Packed {
  uint4 part[Parts];

  __device__ void read(const T* image, int pixel, int end, int lane, int channels) {
    const T* row = image + static_cast<size_t>(pixel) * channels;
#pragma unroll
    for (int k = 0; k < Parts; ++k)
      part[k] = pixel < end && Pixel<T, Lanes, Parts>::inside(lane, k, channels) ? load_packed(row + (lane + k * Lanes) * Vector<T>::size)
                                                                                 : uint4{};
  }
  __device__ Pixel<T, Lanes, Parts> unpacked() const {
    Pixel<T, Lanes, Parts> v;
#pragma unroll
    for (int k = 0; k < Parts; ++k) v.part[k] = unpack<T>(part[k]);
    return v;
  }
};

// `blocks` of them share an image.
template <class T, int Lanes, int Parts>
__global__ void __launch_bounds__(threads, blocks_at_once<Parts>)
    forward_kernel(RmsNormShape s, int blocks, ImageVector x_bias, ImageVector g, const T* x, const T* residual, T* y) {
  using P = Pixel<T, Lanes, Parts>;
  constexpr int rows = threads / Lanes;
  const int lane = threadIdx.x % Lanes, n = blockIdx.x / blocks;
  const int begin = n * s.pixels, end = begin + s.pixels;
  P gain, bias;
  gain.read(row_of(g, n), lane, s.channels, 0.0f);
  bias.read(row_of(x_bias, n), lane, s.channels, 0.0f);
  const float root = sqrtf(static_cast<float>(s.channels));
  // All lanes of a warp stay in the loop: a shuffle needs them.
  for (int first = begin + blockIdx.x % blocks * rows; first < end; first += blocks * rows) {
    const int pixel = first + threadIdx.x / Lanes;
    const bool real = pixel < end;
    const size_t at = static_cast<size_t>(real ? pixel : 0) * s.channels;
    P v;
    v.read(x + at, lane, s.channels);
    float squares = 0.0f;
    v.each([&](int k, int i, float& value) {
      value += bias.part[k].value[i];
      squares += value * value;
    });
    const float inverse = root / fmaxf(sqrtf(lane_sum<Lanes>(squares)), 1e-12f);
    v.each([&](int k, int i, float& value) { value *= inverse * gain.part[k].value[i]; });
    if (residual) {
      P r;
      r.read(residual + at, lane, s.channels);
      v.each([&](int k, int i, float& value) { value += r.part[k].value[i]; });
    }
    if (real) v.write(y + at, lane, s.channels);
  }
}

// The `blocks` of a cluster share an image.
template <class T, int Lanes, int Parts>
__global__ void __launch_bounds__(backward_threads_at_once<Parts>, 1)
    backward_kernel(RmsNormShape s, int blocks, ImageVector x_bias, ImageVector g, const T* x, const T* dy, const T* more, T* dx,
                    float* dvectors) {
  using P = Pixel<T, Lanes, Parts>;
  constexpr int most_warps = most_backward_threads<Parts> / 32, width = Lanes * P::V;
  constexpr int ahead = Parts == 1 ? 2 : 1;  // pixels on their way while one is worked on
  __shared__ float scratch[2][most_warps][width], part[2][Parts * width];
  const int threads = blockDim.x, warps = threads / 32, rows = threads / Lanes;
  const int lane = threadIdx.x % Lanes, n = blockIdx.x / blocks, rank = blockIdx.x % blocks;
  const int begin = n * s.pixels, end = begin + s.pixels, step = blocks * rows;
  int pixel = begin + rank * rows + threadIdx.x / Lanes;
  Packed<T, Lanes, Parts> next_x[ahead], next_dy[ahead];
  const auto read_ahead = [&](int u, int at) {
    next_x[u].read(x, at, end, lane, s.channels);
    next_dy[u].read(dy, at, end, lane, s.channels);
  };
#pragma unroll
  for (int u = 0; u < ahead; ++u) read_ahead(u, pixel + u * step);
  P gain, bias, dg, db;
  gain.read(row_of(g, n), lane, s.channels, 0.0f);
  bias.read(row_of(x_bias, n), lane, s.channels, 0.0f);
  dg.each([](int, int, float& value) { value = 0.0f; });
  db.each([](int, int, float& value) { value = 0.0f; });
  const float root = sqrtf(static_cast<float>(s.channels));
  const auto work = [&](int u) {
    P v = next_x[u].unpacked(), d = next_dy[u].unpacked();
    Packed<T, Lanes, Parts> also;
    if (more) also.read(more, pixel, end, lane, s.channels);
    read_ahead(u, pixel + ahead * step);
    float squares = 0.0f, along = 0.0f;
    v.each([&](int k, int i, float& value) {
      value += bias.part[k].value[i];
      squares += value * value;
      along += value * (gain.part[k].value[i] * d.part[k].value[i]);
    });
    squares = fmaxf(lane_sum<Lanes>(squares), 1e-24f);
    along = lane_sum<Lanes>(along);
    const bool real = pixel < end;
    const float inverse = real ? root * rsqrtf(squares) : 0.0f, back = inverse * __fdividef(along, squares);
    v.each([&](int k, int i, float& value) {
      const float upstream = inverse * d.part[k].value[i];
      dg.part[k].value[i] += upstream * value;
      value = gain.part[k].value[i] * upstream - value * back;
      db.part[k].value[i] += value;
    });
    if (more) {
      const P r = also.unpacked();
      v.each([&](int k, int i, float& value) { value += r.part[k].value[i]; });
    }
    if (real) v.write(dx + static_cast<size_t>(pixel) * s.channels, lane, s.channels);
    pixel += step;
  };
  // All lanes of a warp stay in the loop: a shuffle needs them.
  for (int first = begin + rank * rows; first < end; first += ahead * step)
#pragma unroll
    for (int u = 0; u < ahead; ++u) work(u);

  const int vectors = x_bias.data ? 2 : 1;
#pragma unroll
  for (int k = 0; k < Parts; ++k) {  // over the block
#pragma unroll
    for (int i = 0; i < P::V; ++i) {
      const float of_g = pixel_sum<Lanes>(dg.part[k].value[i]), of_bias = pixel_sum<Lanes>(db.part[k].value[i]);
      if (threadIdx.x % 32 < Lanes) {
        scratch[0][threadIdx.x / 32][i * Lanes + lane] = of_g;
        scratch[1][threadIdx.x / 32][i * Lanes + lane] = of_bias;
      }
    }
    __syncthreads();
    for (int j = threadIdx.x; j < vectors * width; j += threads) {
      const int which = j / width, at = j % width;
      float sum = 0.0f;
#pragma unroll 8
      for (int warp = 0; warp < warps; ++warp) sum += scratch[which][warp][at];
      part[which][k * width + at % Lanes * P::V + at / Lanes] = sum;
    }
    __syncthreads();
  }
  const auto cluster = cg::this_cluster();
  if (blocks > 1) cluster.sync();
  for (int j = threadIdx.x; rank == 0 && j < vectors * s.channels; j += threads) {
    const int which = j / s.channels, c = j % s.channels;
    float some[most_blocks], sum = 0.0f;
#pragma unroll
    for (int other = 0; other < most_blocks; ++other)
      some[other] = other < blocks ? *cluster.map_shared_rank(&part[which][c], other) : 0.0f;
#pragma unroll
    for (int other = 0; other < most_blocks; ++other) sum += some[other];
    dvectors[(static_cast<size_t>(which) * s.images + n) * s.channels + c] = sum;
  }
  if (blocks > 1) cluster.sync();  // what others read must stay until they have
}

struct Cut {
  int threads, blocks;  // of a block; of an image
};

// As many threads as can be there at the same time, if images are not too many, each with two pixels at least. Clusters leave some
// of the 132 multiprocessors of an H100 aside, the more of them the larger blocks are.
template <int Parts>
Cut backward_cut(const RmsNormShape& s, int lanes) {
  Cut best{256, 1};
  for (int threads = most_backward_threads<Parts>; threads >= 256; threads -= 128) {
    const int at_once = 132 * (backward_threads_at_once<Parts> / threads), clustered = threads < 512 ? at_once * 17 / 20 : at_once * 3 / 4;
    const int blocks = std::clamp(std::min(clustered / s.images, s.pixels * lanes / (2 * threads)), 1, most_blocks);
    if (s.images * blocks <= at_once && threads * blocks > best.threads * best.blocks) best = {threads, blocks};
  }
  return best;
}

// Calls f with the lanes of a pixel and the vectors of a lane as compile-time numbers.
template <class T, class F>
auto with_lanes(int channels, F&& f) {
  const int vectors = channels / Vector<T>::size;
  using std::integral_constant;
  if (vectors <= 4) return f(integral_constant<int, 4>(), integral_constant<int, 1>());
  if (vectors <= 8) return f(integral_constant<int, 8>(), integral_constant<int, 1>());
  if (vectors <= 16) return f(integral_constant<int, 16>(), integral_constant<int, 1>());
  if (vectors <= 32) return f(integral_constant<int, 32>(), integral_constant<int, 1>());
  if (vectors <= 64) return f(integral_constant<int, 32>(), integral_constant<int, 2>());
  return f(integral_constant<int, 32>(), integral_constant<int, 4>());
}

}  // namespace

template <class T>
void rms_norm(const RmsNormShape& s, ImageVector x_bias, ImageVector g, const T* x, const T* residual, T* y, cudaStream_t stream) {
  with_lanes<T>(s.channels, [&](auto lanes, auto parts) {
    const int rows = threads / lanes, wanted = (s.pixels + rows - 1) / rows, most = std::max(132 * 16 / s.images, 1);
    const int blocks = std::min(wanted, most);
    forward_kernel<T, lanes(), parts()><<<s.images * blocks, threads, 0, stream>>>(s, blocks, x_bias, g, x, residual, y);
  });
}

template <class T>
cudaError_t rms_norm_backward(const RmsNormShape& s, ImageVector x_bias, ImageVector g, const T* x, const T* dy, const T* more, T* dx,
                              float* dvectors, cudaStream_t stream) {
  return with_lanes<T>(s.channels, [&](auto lanes, auto parts) {
    const auto [threads, blocks] = backward_cut<parts()>(s, lanes());
    const Launch how{dim3(s.images * blocks), threads, 0, dim3(blocks)};
    return launch(backward_kernel<T, lanes(), parts()>, how, stream, s, blocks, x_bias, g, x, dy, more, dx, dvectors);
  });
}

#define DF_INSTANCES(T)                                                                                                              \
  template void rms_norm<T>(const RmsNormShape&, ImageVector, ImageVector, const T*, const T*, T*, cudaStream_t);                    \
  template cudaError_t rms_norm_backward<T>(const RmsNormShape&, ImageVector, ImageVector, const T*, const T*, const T*, T*, float*, \
                                            cudaStream_t);
DF_INSTANCES(float)
DF_INSTANCES(__nv_bfloat16)
#undef DF_INSTANCES

}  // namespace df::cuda
