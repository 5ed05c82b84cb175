// SPDX-License-Identifier: MIT
// Group normalisation, FiLM, activation and the residual sum, for pixels x channels images. An image is cut into chunks of pixels, one
// block each; per-channel sums of a chunk are written out and added up by the blocks of the next kernel, in a fixed order, so
// that results are reproducible and one image alone still fills the device.
#include "cuda/group_norm.cuh"

#include <algorithm>

#include "cuda/group_norm_math.cuh"
#include "cuda/launch.cuh"
#include "cuda/vector.cuh"

namespace df::cuda {

namespace {

// A block has about so many threads, whole pixels of them, and more only where one pixel takes more. Registers are for three of the
// largest blocks on a multiprocessor, which is four of the usual ones.
constexpr int threads = 192, most_threads = 256, blocks_at_once = 3;

// The pixels of this thread, as places of its column in the image: first, first + step, ... before end. A block has `rows` of them at a
// time.
struct Place {
  int n, column, rows, row;
  int first, end, step;
  size_t base;  // where the image begins

  template <class T>
  __device__ Place(const GroupNormShape& s, const T*) {
    const int columns = s.channels / Vector<T>::size, begin = blockIdx.x * s.chunk;
    n = blockIdx.y;
    column = threadIdx.x % columns * Vector<T>::size;
    rows = blockDim.x / columns;
    row = threadIdx.x / columns;
    step = rows * s.channels;
    first = (begin + row) * s.channels + column;
    end = min(begin + s.chunk, s.pixels) * s.channels;
    base = static_cast<size_t>(n) * s.pixels * s.channels;
  }
};

// What a thread reads, sixteen bytes a pixel, with the next U pixels on their way.
template <class T, int U>
struct Ahead {
  const T* image;
  uint4 next[U];

  __device__ Ahead(const T* from, const Place& place) : image(from + place.base) {
#pragma unroll
    for (int u = 0; u < U; ++u)
      if (place.first + u * place.step < place.end) next[u] = load_packed(image + place.first + u * place.step);
  }
  // Of the pixel at `at`, and sends for the one that takes its place.
  __device__ Vector<T> take(int u, int at, const Place& place) {
    const auto v = unpack<T>(next[u]);
    if (at + U * place.step < place.end) next[u] = load_packed(image + at + U * place.step);
    return v;
  }
};

// f(u, at), u the place of a pixel in what was read ahead.
template <int U, class F>
__device__ void each_pixel(const Place& place, F&& f) {
  for (int first = place.first; first < place.end; first += U * place.step)
#pragma unroll
    for (int u = 0; u < U; ++u)
      if (first + u * place.step < place.end) f(u, first + u * place.step);
}

__device__ inline Channel channel_at(const GroupNormShape& s, const GroupNormParameters& p, int n, int c, const float* moments) {
  const int g = c / (s.channels / s.groups);
  return channel(value_of(p.gain, n, c), value_of(p.shift, n, c), value_of(p.x_bias, n, c), moments[2 * g], moments[2 * g + 1]);
}

// Adds `sums` of the threads of a block that share a column, into `partial` [K][C]. scratch [K][rows][C]
template <int K, int V>
__device__ void reduce_rows(const float (&sums)[K][V], const Place& place, int channels, float* scratch, float* partial) {
#pragma unroll
  for (int k = 0; k < K; ++k)
#pragma unroll
    for (int i = 0; i < V; i += 4)
      *reinterpret_cast<float4*>(scratch + (k * place.rows + place.row) * channels + place.column + i) =
          make_float4(sums[k][i], sums[k][i + 1], sums[k][i + 2], sums[k][i + 3]);
  __syncthreads();
  float* out = partial + (static_cast<size_t>(blockIdx.y) * gridDim.x + blockIdx.x) * K * channels;
  for (int i = threadIdx.x; i < K * channels; i += blockDim.x) {
    const float* at = scratch + i / channels * place.step + i % channels;
    float sum = 0.0f;
#pragma unroll 8
    for (int row = 0; row < place.rows; ++row, at += channels) sum += *at;
    out[i] = sum;
  }
}

template <class T>
__global__ void __launch_bounds__(most_threads, blocks_at_once) sums_kernel(GroupNormShape s, const T* x, float* partial) {
  extern __shared__ float4 memory[];
  constexpr int V = Vector<T>::size, U = 4;
  const Place place(s, x);
  Ahead<T, U> xs(x, place);
  float sums[2][V] = {};
  each_pixel<U>(place, [&](int u, int at) {
    const auto v = xs.take(u, at, place);
#pragma unroll
    for (int i = 0; i < V; ++i) {
      sums[0][i] += v.value[i];
      sums[1][i] += v.value[i] * v.value[i];
    }
  });
  reduce_rows(sums, place, s.channels, reinterpret_cast<float*>(memory), partial);
}

// totals [K][C] in shared memory = sum over the chunks of image n.
template <int K>
__device__ void total_chunks(const float* partial, float* totals, int n, int channels) {
  constexpr int at_once = 8;
  const int apart = K * channels;
  for (int i = threadIdx.x; i < apart; i += blockDim.x) {
    const float* at = partial + static_cast<size_t>(n) * gridDim.x * apart + i;
    float sum = 0.0f, some[at_once];
    int left = gridDim.x;
    for (; left >= at_once; left -= at_once) {
#pragma unroll
      for (int j = 0; j < at_once; ++j, at += apart) some[j] = *at;
#pragma unroll
      for (int j = 0; j < at_once; ++j) sum += some[j];
    }
#pragma unroll
    for (int j = 0; j < at_once; ++j, at += apart) some[j] = j < left ? *at : 0.0f;
#pragma unroll
    for (int j = 0; j < at_once; ++j) sum += some[j];
    totals[i] = sum;
  }
}

template <class T, Activation A, bool Residual>
__global__ void __launch_bounds__(most_threads, blocks_at_once)
    apply_kernel(GroupNormShape s, GroupNormParameters p, const T* x, const T* residual, const float* partial, float* stats, T* y) {
  extern __shared__ float4 memory[];
  float *totals = reinterpret_cast<float*>(memory), *scales = totals + 2 * s.channels, *shifts = scales + s.channels;  // [2][C], [C], [C]
  float *x_bias = shifts + s.channels, *more = x_bias + s.channels, *moments = more + s.channels;                      // [C], [C], [G][2]
  constexpr int V = Vector<T>::size, U = Residual ? 2 : 4;
  const Place place(s, x);
  const int n = place.n, per_group = s.channels / s.groups;
  Ahead<T, U> xs(x, place), residuals(Residual ? residual : x, place);
  for (int c = threadIdx.x; c < s.channels; c += blockDim.x) {
    scales[c] = value_of(p.gain, n, c);
    shifts[c] = value_of(p.shift, n, c);
    x_bias[c] = value_of(p.x_bias, n, c);
    more[c] = value_of(p.residual_bias, n, c);
  }
  total_chunks<2>(partial, totals, n, s.channels);
  __syncthreads();
  for (int g = threadIdx.x; g < s.groups; g += blockDim.x) {
    double sum = 0.0, squares = 0.0;
    for (int c = g * per_group; c < (g + 1) * per_group; ++c) {
      const double b = x_bias[c], plain = totals[c];
      sum += plain + s.pixels * b;
      squares += totals[s.channels + c] + b * (2.0 * plain + s.pixels * b);
    }
    const double count = static_cast<double>(s.pixels) * per_group, mean = sum / count;
    moments[2 * g] = static_cast<float>(mean);
    moments[2 * g + 1] = rsqrtf(static_cast<float>(fmax(squares / count - mean * mean, 0.0)) + s.eps);
  }
  __syncthreads();
  for (int c = threadIdx.x; c < s.channels; c += blockDim.x) {
    const float* of_group = moments + 2 * (c / per_group);
    const Channel ch = channel(scales[c], shifts[c], x_bias[c], of_group[0], of_group[1]);
    scales[c] = ch.scale;
    shifts[c] = ch.shift;
    if (blockIdx.x == 0) sums_of(s, stats, n)[c] = totals[c] + s.pixels * x_bias[c];
  }
  if (blockIdx.x == 0)
    for (int i = threadIdx.x; i < 2 * s.groups; i += blockDim.x) moments_of(s, stats, n)[i] = moments[i];
  __syncthreads();
  float scale[V], shift[V], plus[V];
  take(scale, scales + place.column);
  take(shift, shifts + place.column);
  take(plus, more + place.column);
  each_pixel<U>(place, [&](int u, int at) {
    auto v = xs.take(u, at, place);
#pragma unroll
    for (int i = 0; i < V; ++i) v.value[i] = activated<A>(scale[i] * v.value[i] + shift[i]) + plus[i];
    if constexpr (Residual) {
      const auto r = residuals.take(u, at, place);
#pragma unroll
      for (int i = 0; i < V; ++i) v.value[i] += r.value[i];
    }
    store(y + place.base + at, v);
  });
}

// Per channel: sums of d = dy activation'(u), of d (x - mean) and of dy.
template <class T, Activation A>
__global__ void __launch_bounds__(most_threads, blocks_at_once)
    backward_sums_kernel(GroupNormShape s, GroupNormParameters p, const T* x, const T* dy, const float* stats, float* partial) {
  extern __shared__ float4 memory[];
  float *scales = reinterpret_cast<float*>(memory), *shifts = scales + s.channels, *offsets = shifts + s.channels;  // [C] each
  constexpr int V = Vector<T>::size, U = 2;
  const Place place(s, x);
  Ahead<T, U> xs(x, place), ds(dy, place);
  const float* moments = moments_of(s, stats, place.n);
  for (int c = threadIdx.x; c < s.channels; c += blockDim.x) {
    const Channel ch = channel_at(s, p, place.n, c, moments);
    scales[c] = ch.scale;
    shifts[c] = ch.shift;
    offsets[c] = ch.offset;
  }
  __syncthreads();
  // Centred after the sum where x is bf16: what that loses is less than what x has lost by its rounding.
  constexpr bool late = sizeof(T) < sizeof(float);
  float scale[V], shift[V], offset[V] = {}, sums[3][V] = {};
  take(scale, scales + place.column);
  take(shift, shifts + place.column);
  if constexpr (!late) take(offset, offsets + place.column);
  each_pixel<U>(place, [&](int u, int at) {
    const auto vx = xs.take(u, at, place), vd = ds.take(u, at, place);
#pragma unroll
    for (int i = 0; i < V; ++i) {
      const float d = vd.value[i] * activation_slope<A>(scale[i] * vx.value[i] + shift[i]);
      sums[0][i] += d;
      sums[1][i] += d * (late ? vx.value[i] : vx.value[i] + offset[i]);
      sums[2][i] += vd.value[i];
    }
  });
  if constexpr (late) {
    take(offset, offsets + place.column);
#pragma unroll
    for (int i = 0; i < V; ++i) sums[1][i] += offset[i] * sums[0][i];
  }
  __syncthreads();
  reduce_rows(sums, place, s.channels, scales, partial);
}

// dx = (gain d - mean(gain d) - xhat mean(gain d xhat)) / deviation, the means over the group; and the gradients of everything that
// has one value a channel, for each image.
template <class T, Activation A>
__global__ void __launch_bounds__(most_threads, blocks_at_once)
    backward_apply_kernel(GroupNormShape s, GroupNormParameters p, const T* x, const T* dy, const float* stats, const float* partial, T* dx,
                          float* dvectors) {
  extern __shared__ float4 memory[];
  float *sum_d = reinterpret_cast<float*>(memory), *sum_dx = sum_d + s.channels, *sum_dy = sum_dx + s.channels;  // [C] each
  float *scales = sum_dy + s.channels, *shifts = scales + s.channels, *offsets = shifts + s.channels;            // [C] each
  float *gains = offsets + s.channels, *moments = gains + s.channels, *means = moments + 2 * s.groups;           // [C], [G][2] each
  constexpr int V = Vector<T>::size, U = 2;
  const Place place(s, x);
  const int n = place.n, per_group = s.channels / s.groups;
  Ahead<T, U> xs(x, place), ds(dy, place);
  const float* of_image = moments_of(s, stats, n);
  for (int i = threadIdx.x; i < 2 * s.groups; i += blockDim.x) moments[i] = of_image[i];
  for (int c = threadIdx.x; c < s.channels; c += blockDim.x) {
    const Channel ch = channel_at(s, p, n, c, of_image);
    scales[c] = ch.scale;
    shifts[c] = ch.shift;
    offsets[c] = ch.offset;
    gains[c] = ch.gain;
  }
  total_chunks<3>(partial, sum_d, n, s.channels);
  __syncthreads();
  for (int g = threadIdx.x; g < s.groups; g += blockDim.x) {
    float first = 0.0f, second = 0.0f;
    for (int c = g * per_group; c < (g + 1) * per_group; ++c) {
      first += gains[c] * sum_d[c];
      second += gains[c] * sum_dx[c] * moments[2 * g + 1];
    }
    const float count = static_cast<float>(s.pixels) * per_group;
    means[2 * g] = first / count;
    means[2 * g + 1] = second / count;
  }
  __syncthreads();
  float *by = gains, *constants = offsets;  // from here on: dx = scale d + by x + constant
  for (int c = threadIdx.x; c < s.channels; c += blockDim.x) {
    const int g = c / per_group;
    const Channel ch{scales[c], shifts[c], offsets[c], moments[2 * g + 1], gains[c]};
    if (blockIdx.x == 0)
      write_gradients(ch, moments[2 * g], sum_d[c], sum_dx[c], sum_dy[c], sums_of(s, stats, n)[c], s.pixels, means[2 * g], means[2 * g + 1],
                      dvectors + static_cast<size_t>(n) * s.channels + c, static_cast<size_t>(s.images) * s.channels);
    by[c] = -ch.inverse * ch.inverse * means[2 * g + 1];
    constants[c] = by[c] * ch.offset - ch.inverse * means[2 * g];
  }
  __syncthreads();
  float scale[V], shift[V], by_x[V], constant[V];
  take(scale, scales + place.column);
  take(shift, shifts + place.column);
  take(by_x, by + place.column);
  take(constant, constants + place.column);
  each_pixel<U>(place, [&](int u, int at) {
    const auto vx = xs.take(u, at, place), vd = ds.take(u, at, place);
    Vector<T> out;
#pragma unroll
    for (int i = 0; i < V; ++i)
      out.value[i] =
          scale[i] * vd.value[i] * activation_slope<A>(scale[i] * vx.value[i] + shift[i]) + (by_x[i] * vx.value[i] + constant[i]);
    store(dx + place.base + at, out);
  });
}

template <class T>
int block(const GroupNormShape& s) {
  const int columns = s.channels / Vector<T>::size;
  return columns * std::max(threads / columns, 1);
}

// Of K sums of each thread, and at least `least` numbers.
template <class T, int K>
size_t scratch(const GroupNormShape& s, int least) {
  return std::max(block<T>(s) * Vector<T>::size * K, least) * sizeof(float);
}

template <class T>
Launch launch_of(const GroupNormShape& s, size_t bytes) {
  return {dim3(s.chunks, s.images), block<T>(s), bytes};
}

}  // namespace

template <class T, Activation A>
void group_norm(const GroupNormShape& s, const GroupNormParameters& p, const T* x, const T* residual, float* partial, float* stats, T* y,
                cudaStream_t stream) {
  launch(sums_kernel<T>, launch_of<T>(s, scratch<T, 2>(s, 0)), stream, s, x, partial);
  launch(residual ? apply_kernel<T, A, true> : apply_kernel<T, A, false>, launch_of<T>(s, (6 * s.channels + 2 * s.groups) * sizeof(float)),
         stream, s, p, x, residual, partial, stats, y);
}

template <class T, Activation A>
void group_norm_backward(const GroupNormShape& s, const GroupNormParameters& p, const T* x, const T* dy, const float* stats, float* partial,
                         T* dx, float* dvectors, cudaStream_t stream) {
  launch(backward_sums_kernel<T, A>, launch_of<T>(s, scratch<T, 3>(s, 3 * s.channels)), stream, s, p, x, dy, stats, partial);
  launch(backward_apply_kernel<T, A>, launch_of<T>(s, (7 * s.channels + 4 * s.groups) * sizeof(float)), stream, s, p, x, dy, stats, partial,
         dx, dvectors);
}

#define DF_INSTANCES(T, A)                                                                                                                 \
  template void group_norm<T, A>(const GroupNormShape&, const GroupNormParameters&, const T*, const T*, float*, float*, T*, cudaStream_t); \
  template void group_norm_backward<T, A>(const GroupNormShape&, const GroupNormParameters&, const T*, const T*, const float*, float*, T*, \
                                          float*, cudaStream_t);
DF_INSTANCES(float, Activation::silu)
DF_INSTANCES(float, Activation::mish)
DF_INSTANCES(__nv_bfloat16, Activation::silu)
DF_INSTANCES(__nv_bfloat16, Activation::mish)
#undef DF_INSTANCES

}  // namespace df::cuda
