// SPDX-License-Identifier: MIT
// A thread takes 16 bytes of a row at a time.
#include "cuda/pointwise.cuh"

#include "cuda/gelu.cuh"
#include "cuda/vector.cuh"

namespace df::cuda {

namespace {

constexpr int threads = 256;

template <class T>
__device__ inline T* at(const Rows<T>& rows, int row, int column) {
  return rows.data + static_cast<size_t>(row) * rows.stride + column;
}

// Lets a block cover as many rows as fit, threads along the columns first.
struct Launch {
  dim3 grid, block;
  Launch(int rows, int vectors) {
    unsigned along = 1;
    while (along < static_cast<unsigned>(vectors) && along < threads) along *= 2;
    block = dim3(along, threads / along);
    grid = dim3((static_cast<unsigned>(rows) + block.y - 1) / block.y);
  }
};

// Calls f(row, first column of a vector) for this thread's part of the matrix.
template <class T, class F>
__device__ inline void each_vector(int rows, int columns, F&& f) {
  const int row = blockIdx.x * blockDim.y + threadIdx.y;
  if (row >= rows) return;
  for (int column = threadIdx.x * Vector<T>::size; column < columns; column += blockDim.x * Vector<T>::size) f(row, column);
}

template <class T>
__global__ void __launch_bounds__(threads)
    add_gelu_kernel(int rows, int columns, Rows<T> x, const T* bias, Rows<const T> residual, Rows<T> y) {
  each_vector<T>(rows, columns, [&](int row, int column) {
    Vector<T> v = load<T>(at(x, row, column));
    if (residual.data) {
      const auto r = load(at(residual, row, column));
#pragma unroll
      for (int i = 0; i < Vector<T>::size; ++i) v.value[i] += r.value[i];
    }
    if (bias) {
      const auto b = load(bias + column);
#pragma unroll
      for (int i = 0; i < Vector<T>::size; ++i) v.value[i] += b.value[i];
    }
    if (residual.data || bias) store(at(x, row, column), v);
#pragma unroll
    for (int i = 0; i < Vector<T>::size; ++i) v.value[i] = gelu<T>(v.value[i]);
    store(at(y, row, column), v);
  });
}

template <class T>
__global__ void __launch_bounds__(threads)
    gelu_backward_kernel(int rows, int columns, Rows<const T> dy, Rows<const T> more, Rows<const T> x, Rows<T> dx) {
  each_vector<T>(rows, columns, [&](int row, int column) {
    Vector<T> d = load(at(dy, row, column));
    const auto v = load(at(x, row, column));
    if (more.data) {
      const auto m = load(at(more, row, column));
#pragma unroll
      for (int i = 0; i < Vector<T>::size; ++i) d.value[i] += m.value[i];
    }
#pragma unroll
    for (int i = 0; i < Vector<T>::size; ++i) d.value[i] *= gelu_slope<T>(v.value[i]);
    store(at(dx, row, column), d);
  });
}

__device__ inline float sigmoid(float x) { return __fdividef(1.0f, 1.0f + __expf(-x)); }

// A vector of each gate.
template <class T>
struct Gates {
  Vector<T> r, u, n, h;  // h: the state's part of n
  __device__ Gates(const Rows<const T>& a, const Rows<const T>& b, int row, int column, int columns) {
    r = load(at(a, row, column)), u = load(at(a, row, column + columns)), n = load(at(a, row, column + 2 * columns));
    const auto br = load(at(b, row, column)), bu = load(at(b, row, column + columns));
    h = load(at(b, row, column + 2 * columns));
#pragma unroll
    for (int i = 0; i < Vector<T>::size; ++i) {
      r.value[i] = sigmoid(r.value[i] + br.value[i]);
      u.value[i] = sigmoid(u.value[i] + bu.value[i]);
      n.value[i] = tanhf(n.value[i] + r.value[i] * h.value[i]);
    }
  }
};

template <class T>
__global__ void __launch_bounds__(threads) gru_kernel(int rows, int columns, Rows<const T> a, Rows<const T> b, Rows<const T> z, Rows<T> y) {
  each_vector<T>(rows, columns, [&](int row, int column) {
    const Gates<T> g(a, b, row, column, columns);
    Vector<T> v = load(at(z, row, column));
#pragma unroll
    for (int i = 0; i < Vector<T>::size; ++i) v.value[i] = g.n.value[i] + g.u.value[i] * (v.value[i] - g.n.value[i]);
    store(at(y, row, column), v);
  });
}

template <class T>
__global__ void __launch_bounds__(threads) gru_backward_kernel(int rows, int columns, Rows<const T> a, Rows<const T> b, Rows<const T> z,
                                                               Rows<const T> dy, Rows<T> da, Rows<T> db, Rows<T> dz) {
  each_vector<T>(rows, columns, [&](int row, int column) {
    const Gates<T> g(a, b, row, column, columns);
    const auto state = load(at(z, row, column)), d = load(at(dy, row, column));
    Vector<T> sum = load<T>(at(dz, row, column)), dr, du, dn, dh;
#pragma unroll
    for (int i = 0; i < Vector<T>::size; ++i) {
      const float r = g.r.value[i], u = g.u.value[i], n = g.n.value[i];
      sum.value[i] += d.value[i] * u;
      dn.value[i] = d.value[i] * (1.0f - u) * (1.0f - n * n);
      du.value[i] = d.value[i] * (state.value[i] - n) * u * (1.0f - u);
      dr.value[i] = dn.value[i] * g.h.value[i] * r * (1.0f - r);
      dh.value[i] = dn.value[i] * r;
    }
    store(at(dz, row, column), sum);
    store(at(da, row, column), dr);
    store(at(da, row, column + columns), du);
    store(at(da, row, column + 2 * columns), dn);
    store(at(db, row, column), dr);
    store(at(db, row, column + columns), du);
    store(at(db, row, column + 2 * columns), dh);
  });
}

}  // namespace

template <class T>
void add_gelu(int rows, int columns, Rows<T> x, const T* bias, Rows<const T> residual, Rows<T> y, cudaStream_t stream) {
  const Launch launch(rows, columns / Vector<T>::size);
  add_gelu_kernel<T><<<launch.grid, launch.block, 0, stream>>>(rows, columns, x, bias, residual, y);
}

template <class T>
void gelu_backward(int rows, int columns, Rows<const T> dy, Rows<const T> more, Rows<const T> x, Rows<T> dx, cudaStream_t stream) {
  const Launch launch(rows, columns / Vector<T>::size);
  gelu_backward_kernel<T><<<launch.grid, launch.block, 0, stream>>>(rows, columns, dy, more, x, dx);
}

template <class T>
void gru(int rows, int columns, Rows<const T> a, Rows<const T> b, Rows<const T> z, Rows<T> y, cudaStream_t stream) {
  const Launch launch(rows, columns / Vector<T>::size);
  gru_kernel<T><<<launch.grid, launch.block, 0, stream>>>(rows, columns, a, b, z, y);
}

template <class T>
void gru_backward(int rows, int columns, Rows<const T> a, Rows<const T> b, Rows<const T> z, Rows<const T> dy, Rows<T> da, Rows<T> db,
                  Rows<T> dz, cudaStream_t stream) {
  const Launch launch(rows, columns / Vector<T>::size);
  gru_backward_kernel<T><<<launch.grid, launch.block, 0, stream>>>(rows, columns, a, b, z, dy, da, db, dz);
}

#define DF_INSTANCES(T)                                                                                                          \
  template void add_gelu<T>(int, int, Rows<T>, const T*, Rows<const T>, Rows<T>, cudaStream_t);                                  \
  template void gelu_backward<T>(int, int, Rows<const T>, Rows<const T>, Rows<const T>, Rows<T>, cudaStream_t);                  \
  template void gru<T>(int, int, Rows<const T>, Rows<const T>, Rows<const T>, Rows<T>, cudaStream_t);                            \
  template void gru_backward<T>(int, int, Rows<const T>, Rows<const T>, Rows<const T>, Rows<const T>, Rows<T>, Rows<T>, Rows<T>, \
                                cudaStream_t);
DF_INSTANCES(float)
DF_INSTANCES(__nv_bfloat16)
#undef DF_INSTANCES

}  // namespace df::cuda
