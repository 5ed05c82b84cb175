// SPDX-License-Identifier: MIT
// Nonlinearities and gates of token networks: kernels (cuda/pointwise_kernels.cpp) or tensor operators (ops/pointwise_plain.cpp).
#pragma once

#include "diffusion_forcing/core/tensor.hpp"

namespace df::ops {

// The state after a GRU cell at each pixel, as `gru` below has it: from_x, from_z [N, 3 C, H, W], z [N, C, H, W] -> [N, C, H, W], of z's
// type. Gradients flow through.
Tensor gru_cell(const Tensor& from_x, const Tensor& from_z, const Tensor& z);

// The following write into given tensors, compute no gradients and take matrices [N, C] whose rows may be strided.
// x += bias + residual, y = gelu(x). bias [C] and the residual may be undefined.
void add_gelu(const Tensor& x, const Tensor& bias, const Tensor& residual, const Tensor& y);
// dx = (dy + more) gelu'(x), where `more` may be undefined.
void gelu_backward(const Tensor& dy, const Tensor& more, const Tensor& x, const Tensor& dx);
// The state after a GRU cell: r = sigmoid(a_r + b_r), u = sigmoid(a_u + b_u), n = tanh(a_n + r b_n), y = n + u (z - n), from what the gates
// get from the input, a [N, 3 C], and from the state, b [N, 3 C], r, u and n beside each other. z, y [N, C].
void gru(const Tensor& a, const Tensor& b, const Tensor& z, const Tensor& y);
// Gradients of a and b from that of y; that of z is added to dz.
void gru_backward(const Tensor& a, const Tensor& b, const Tensor& z, const Tensor& dy, const Tensor& da, const Tensor& db,
                  const Tensor& dz);

namespace plain {
Tensor gru_cell(const Tensor& from_x, const Tensor& from_z, const Tensor& z);
void add_gelu(const Tensor& x, const Tensor& bias, const Tensor& residual, const Tensor& y);
void gelu_backward(const Tensor& dy, const Tensor& more, const Tensor& x, const Tensor& dx);
void gru(const Tensor& a, const Tensor& b, const Tensor& z, const Tensor& y);
void gru_backward(const Tensor& a, const Tensor& b, const Tensor& z, const Tensor& dy, const Tensor& da, const Tensor& db,
                  const Tensor& dz);
}  // namespace plain

// The gates of a GRU cell before their nonlinearities, r, u and n beside each other, from its input and from its state. Rows may be
// strided.
struct GruInput {
  Tensor from_x, from_z;  // float32 or bfloat16 [N, 3 C], biases included, C divisible by 8
  Tensor z;               // [N, C]
};

// Matrices [N, C] of one type, float32 or bfloat16, C divisible by 8; rows may be strided, and start at multiples of 16 bytes.
class PointwiseKernels {
 public:
  virtual ~PointwiseKernels() = default;
  // x += bias + residual (either may be undefined), y = gelu(x), or dx = (dy + more) gelu'(x); bias [C] like x.
  virtual void add_gelu(const Tensor& x, const Tensor& bias, const Tensor& residual, const Tensor& y) const = 0;
  virtual void gelu_backward(const Tensor& dy, const Tensor& more, const Tensor& x, const Tensor& dx) const = 0;
  // y = the next state; gradients of the gates, and that of z added to dz.
  virtual void gru(const GruInput& input, const Tensor& y) const = 0;
  virtual void gru_backward(const GruInput& input, const Tensor& dy, const Tensor& dfrom_x, const Tensor& dfrom_z,
                            const Tensor& dz) const = 0;
};

}  // namespace df::ops
