// SPDX-License-Identifier: MIT
// Group normalisation, FiLM, activation and the residual sum, for pixels x channels images. An image is cut into chunks of pixels, one
// block each; per-channel sums of a chunk are written out and added up by the blocks of the next kernel, in a fixed order, so
// that results are reproducible and one image alone still fills the device.
#include "cuda/group_norm.cuh"

#include "cuda/group_norm_math.cuh"
#include "cuda/vector.cuh"

namespace df::cuda {

namespace {

constexpr int threads = 256;

__device__ inline Channel channel_at(const GroupNormShape& s, const GroupNormParameters& p, int n, int c, const float* moments) {
  const int g = c / (s.channels / s.groups);
  return channel(value_of(p.gain, n, c), value_of(p.shift, n, c), value_of(p.x_bias, n, c), moments[2 * g], moments[2 * g + 1]);
}

// Adds `sums` of the threads of a block that share a column, into `partial` [K][C].
template <int K, int V>
__device__ void reduce_rows(const float (&sums)[K][V], float* scratch, float* partial, int columns, int rows, int channels) {
  const int column = threadIdx.x % columns, row = threadIdx.x / columns;
#pragma unroll
  for (int k = 0; k < K; ++k) {
#pragma unroll
    for (int i = 0; i < V; ++i) scratch[row * channels + column * V + i] = sums[k][i];
    __syncthreads();
    for (int c = threadIdx.x; c < channels; c += blockDim.x) {
      float sum = 0.0f;
      for (int r = 0; r < rows; ++r) sum += scratch[r * channels + c];
      partial[k * channels + c] = sum;
    }
    __syncthreads();
  }
}

template <class T>
__global__ void __launch_bounds__(threads) sums_kernel(GroupNormShape s, const T* x, float* partial) {
  extern __shared__ float scratch[];
  constexpr int V = Vector<T>::size;
  const int columns = s.channels / V, rows = blockDim.x / columns, n = blockIdx.y;
  const int column = threadIdx.x % columns, begin = blockIdx.x * s.chunk, end = min(begin + s.chunk, s.pixels);
  const T* image = x + static_cast<size_t>(n) * s.pixels * s.channels + column * V;
  float sums[2][V] = {};
#pragma unroll 4
  for (int pixel = begin + threadIdx.x / columns; pixel < end; pixel += rows) {
    const auto v = load(image + static_cast<size_t>(pixel) * s.channels);
#pragma unroll
    for (int i = 0; i < V; ++i) {
      sums[0][i] += v.value[i];
      sums[1][i] += v.value[i] * v.value[i];
    }
  }
  reduce_rows<2, V>(sums, scratch, partial + (static_cast<size_t>(n) * gridDim.x + blockIdx.x) * 2 * s.channels, columns, rows, s.channels);
}

// totals [K][C] in shared memory = sum over the chunks of image n.
template <int K>
__device__ void total_chunks(const float* partial, float* totals, int n, int channels) {
  const float* image = partial + static_cast<size_t>(n) * gridDim.x * K * channels;
  for (int i = threadIdx.x; i < K * channels; i += blockDim.x) {
    float sum = 0.0f;
    for (int chunk = 0; chunk < gridDim.x; ++chunk) sum += image[chunk * K * channels + i];
    totals[i] = sum;
  }
  __syncthreads();
}

template <class T, Activation A>
__global__ void __launch_bounds__(threads)
    apply_kernel(GroupNormShape s, GroupNormParameters p, const T* x, const T* residual, const float* partial, float* stats, T* y) {
  extern __shared__ float shared[];
  float* totals = shared;                    // [2][C]
  float* moments = shared + 2 * s.channels;  // [G][2]
  constexpr int V = Vector<T>::size;
  const int n = blockIdx.y, per_group = s.channels / s.groups;
  total_chunks<2>(partial, totals, n, s.channels);
  for (int g = threadIdx.x; g < s.groups; g += blockDim.x) {
    double sum = 0.0, squares = 0.0;
    for (int c = g * per_group; c < (g + 1) * per_group; ++c) {
      const double b = value_of(p.x_bias, n, c), plain = totals[c];
      sum += plain + s.pixels * b;
      squares += totals[s.channels + c] + b * (2.0 * plain + s.pixels * b);
    }
    const double count = static_cast<double>(s.pixels) * per_group, mean = sum / count;
    moments[2 * g] = static_cast<float>(mean);
    moments[2 * g + 1] = rsqrtf(static_cast<float>(fmax(squares / count - mean * mean, 0.0)) + s.eps);
  }
  __syncthreads();
  if (blockIdx.x == 0) {
    float *moments_out = moments_of(s, stats, n), *sums_out = sums_of(s, stats, n);
    for (int i = threadIdx.x; i < 2 * s.groups; i += blockDim.x) moments_out[i] = moments[i];
    for (int c = threadIdx.x; c < s.channels; c += blockDim.x) sums_out[c] = totals[c] + s.pixels * value_of(p.x_bias, n, c);
  }
  const int columns = s.channels / V, rows = blockDim.x / columns, column = threadIdx.x % columns;
  float scale[V], shift[V], more[V];
#pragma unroll
  for (int i = 0; i < V; ++i) {
    const Channel ch = channel_at(s, p, n, column * V + i, moments);
    scale[i] = ch.scale;
    shift[i] = ch.shift;
    more[i] = value_of(p.residual_bias, n, column * V + i);
  }
  const int begin = blockIdx.x * s.chunk, end = min(begin + s.chunk, s.pixels);
  const size_t base = static_cast<size_t>(n) * s.pixels * s.channels + column * V;
#pragma unroll 4
  for (int pixel = begin + threadIdx.x / columns; pixel < end; pixel += rows) {
    const size_t at = base + static_cast<size_t>(pixel) * s.channels;
    auto v = load(x + at);
#pragma unroll
    for (int i = 0; i < V; ++i) v.value[i] = activated<A>(scale[i] * v.value[i] + shift[i]) + more[i];
    if (residual) {
      const auto r = load(residual + at);
#pragma unroll
      for (int i = 0; i < V; ++i) v.value[i] += r.value[i];
    }
    store(y + at, v);
  }
}

// Per channel: sums of d = dy activation'(u), of d (x - mean) and of dy.
template <class T, Activation A>
__global__ void __launch_bounds__(threads)
    backward_sums_kernel(GroupNormShape s, GroupNormParameters p, const T* x, const T* dy, const float* stats, float* partial) {
  extern __shared__ float scratch[];
  constexpr int V = Vector<T>::size;
  const int columns = s.channels / V, rows = blockDim.x / columns, n = blockIdx.y;
  const int column = threadIdx.x % columns, begin = blockIdx.x * s.chunk, end = min(begin + s.chunk, s.pixels);
  float scale[V], shift[V], offset[V];
#pragma unroll
  for (int i = 0; i < V; ++i) {
    const Channel ch = channel_at(s, p, n, column * V + i, moments_of(s, stats, n));
    scale[i] = ch.scale;
    shift[i] = ch.shift;
    offset[i] = ch.offset;
  }
  const size_t base = static_cast<size_t>(n) * s.pixels * s.channels + column * V;
  float sums[3][V] = {};
#pragma unroll 2
  for (int pixel = begin + threadIdx.x / columns; pixel < end; pixel += rows) {
    const size_t at = base + static_cast<size_t>(pixel) * s.channels;
    const auto vx = load(x + at), vd = load(dy + at);
#pragma unroll
    for (int i = 0; i < V; ++i) {
      const float d = vd.value[i] * activation_slope<A>(scale[i] * vx.value[i] + shift[i]);
      sums[0][i] += d;
      sums[1][i] += d * (vx.value[i] + offset[i]);
      sums[2][i] += vd.value[i];
    }
  }
  reduce_rows<3, V>(sums, scratch, partial + (static_cast<size_t>(n) * gridDim.x + blockIdx.x) * 3 * s.channels, columns, rows, s.channels);
}

// dx = (gain d - mean(gain d) - xhat mean(gain d xhat)) / deviation, the means over the group; and the gradients of everything that
// has one value a channel, for each image.
template <class T, Activation A>
__global__ void __launch_bounds__(threads) backward_apply_kernel(GroupNormShape s, GroupNormParameters p, const T* x, const T* dy,
                                                                 const float* stats, const float* partial, T* dx, float* dvectors) {
  extern __shared__ float shared[];
  float* totals = shared;                  // [3][C]
  float* means = shared + 3 * s.channels;  // [G][2]
  constexpr int V = Vector<T>::size;
  const int n = blockIdx.y, per_group = s.channels / s.groups;
  total_chunks<3>(partial, totals, n, s.channels);
  const float *sum_d = totals, *sum_dx = totals + s.channels, *sum_dy = totals + 2 * s.channels, *moments = moments_of(s, stats, n);
  for (int g = threadIdx.x; g < s.groups; g += blockDim.x) {
    float first = 0.0f, second = 0.0f;
    for (int c = g * per_group; c < (g + 1) * per_group; ++c) {
      const float gain = value_of(p.gain, n, c);
      first += gain * sum_d[c];
      second += gain * sum_dx[c] * moments[2 * g + 1];
    }
    const float count = static_cast<float>(s.pixels) * per_group;
    means[2 * g] = first / count;
    means[2 * g + 1] = second / count;
  }
  __syncthreads();
  if (blockIdx.x == 0) {
    for (int c = threadIdx.x; c < s.channels; c += blockDim.x) {
      const int g = c / per_group;
      write_gradients(channel_at(s, p, n, c, moments), moments[2 * g], sum_d[c], sum_dx[c], sum_dy[c], sums_of(s, stats, n)[c], s.pixels,
                      means[2 * g], means[2 * g + 1], dvectors + static_cast<size_t>(n) * s.channels + c,
                      static_cast<size_t>(s.images) * s.channels);
    }
  }
  const int columns = s.channels / V, rows = blockDim.x / columns, column = threadIdx.x % columns;
  float scale[V], shift[V], by_d[V], by_x[V], constant[V];
#pragma unroll
  for (int i = 0; i < V; ++i) {
    const int c = column * V + i, g = c / per_group;
    const Channel ch = channel_at(s, p, n, c, moments);
    scale[i] = ch.scale;
    shift[i] = ch.shift;
    by_d[i] = ch.inverse * ch.gain;
    by_x[i] = -ch.inverse * ch.inverse * means[2 * g + 1];
    constant[i] = by_x[i] * ch.offset - ch.inverse * means[2 * g];
  }
  const int begin = blockIdx.x * s.chunk, end = min(begin + s.chunk, s.pixels);
  const size_t base = static_cast<size_t>(n) * s.pixels * s.channels + column * V;
#pragma unroll 2
  for (int pixel = begin + threadIdx.x / columns; pixel < end; pixel += rows) {
    const size_t at = base + static_cast<size_t>(pixel) * s.channels;
    const auto vx = load(x + at), vd = load(dy + at);
    Vector<T> out;
#pragma unroll
    for (int i = 0; i < V; ++i)
      out.value[i] = by_d[i] * vd.value[i] * activation_slope<A>(scale[i] * vx.value[i] + shift[i]) + by_x[i] * vx.value[i] + constant[i];
    store(dx + at, out);
  }
}

template <class T>
int block(const GroupNormShape& s) {
  const int columns = s.channels / Vector<T>::size;
  return columns * (threads / columns);
}

template <class T>
size_t scratch(const GroupNormShape& s) {
  return static_cast<size_t>(block<T>(s)) * Vector<T>::size * sizeof(float);
}

}  // namespace

template <class T, Activation A>
void group_norm(const GroupNormShape& s, const GroupNormParameters& p, const T* x, const T* residual, float* partial, float* stats, T* y,
                cudaStream_t stream) {
  const dim3 grid(s.chunks, s.images);
  sums_kernel<T><<<grid, block<T>(s), scratch<T>(s), stream>>>(s, x, partial);
  apply_kernel<T, A><<<grid, block<T>(s), (2 * s.channels + 2 * s.groups) * sizeof(float), stream>>>(s, p, x, residual, partial, stats, y);
}

template <class T, Activation A>
void group_norm_backward(const GroupNormShape& s, const GroupNormParameters& p, const T* x, const T* dy, const float* stats, float* partial,
                         T* dx, float* dvectors, cudaStream_t stream) {
  const dim3 grid(s.chunks, s.images);
  backward_sums_kernel<T, A><<<grid, block<T>(s), scratch<T>(s), stream>>>(s, p, x, dy, stats, partial);
  backward_apply_kernel<T, A>
      <<<grid, block<T>(s), (3 * s.channels + 2 * s.groups) * sizeof(float), stream>>>(s, p, x, dy, stats, partial, dx, dvectors);
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
