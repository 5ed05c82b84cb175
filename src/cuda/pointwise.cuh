// SPDX-License-Identifier: MIT
// GELU and the gates of a GRU on matrices whose rows may be strided, on raw memory.
#pragma once

#include <cuda_runtime.h>

namespace df::cuda {

// Rows of `columns` elements (a multiple of a 16-byte vector), each starting `stride` elements after the one before.
template <class T>
struct Rows {
  T* data;  // null: absent
  int stride;
};

// x += bias + residual where given, y = gelu(x). x is written only where something was added.
template <class T>
void add_gelu(int rows, int columns, Rows<T> x, const T* bias, Rows<const T> residual, Rows<T> y, cudaStream_t stream);

// dx = (dy + more) gelu'(x)
template <class T>
void gelu_backward(int rows, int columns, Rows<const T> dy, Rows<const T> more, Rows<const T> x, Rows<T> dx, cudaStream_t stream);

// a, b [rows][3 columns]: what the gates r, u, n get from the input and from the state z [rows][columns].
template <class T>
void gru(int rows, int columns, Rows<const T> a, Rows<const T> b, Rows<const T> z, Rows<T> y, cudaStream_t stream);
// The gradient of z is added to dz.
template <class T>
void gru_backward(int rows, int columns, Rows<const T> a, Rows<const T> b, Rows<const T> z, Rows<const T> dy, Rows<T> da, Rows<T> db,
                  Rows<T> dz, cudaStream_t stream);

}  // namespace df::cuda
