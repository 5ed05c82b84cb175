// SPDX-License-Identifier: MIT
#include <ATen/ATen.h>

#include "ops/pointwise.hpp"

namespace df::ops {

namespace {

// Of a GRU cell, r, u and n beside each other in dimension 1 of what it gets from its input and from its state.
struct Gates {
  Gates(const Tensor& from_x, const Tensor& from_z) {
    const auto x = from_x.chunk(3, 1), h = from_z.chunk(3, 1);
    r = at::sigmoid(x[0] + h[0]);
    u = at::sigmoid(x[1] + h[1]);
    new_from_z = h[2];
    n = at::tanh(at::addcmul(x[2], r, new_from_z));
  }
  Tensor r, u, n, new_from_z;  // reset, update, new state, what the new state gets from the old one before it is reset
};

}  // namespace

namespace plain {

Tensor gru_cell(const Tensor& from_x, const Tensor& from_z, const Tensor& z) {
  const Gates g(from_x, from_z);
  return g.n + g.u * (z - g.n);
}

void add_gelu(const Tensor& x, const Tensor& bias, const Tensor& residual, const Tensor& y) {
  if (residual.defined()) x.add_(residual);
  if (bias.defined()) x.add_(bias);
  Tensor out = y;
  at::gelu_out(out, x);
}

void gelu_backward(const Tensor& dy, const Tensor& more, const Tensor& x, const Tensor& dx) {
  Tensor out = dx;
  at::gelu_backward_out(out, more.defined() ? dy + more : dy, x);
}

void gru(const Tensor& a, const Tensor& b, const Tensor& z, const Tensor& y) {
  const Gates g(a, b);
  Tensor out = y;
  at::addcmul_out(out, g.n, g.u, z - g.n);
}

void gru_backward(const Tensor& a, const Tensor& b, const Tensor& z, const Tensor& dy, const Tensor& da, const Tensor& db,
                  const Tensor& dz) {
  const auto [r, u, n, new_from_z] = Gates(a, b);
  const Tensor dn = dy * (1 - u) * (1 - n * n), du = dy * (z - n) * u * (1 - u), dr = dn * new_from_z * r * (1 - r);
  da.copy_(at::cat({dr, du, dn}, 1));
  db.copy_(at::cat({dr, du, dn * r}, 1));
  dz.add_(dy * u);
}

}  // namespace plain

}  // namespace df::ops
