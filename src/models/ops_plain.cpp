// SPDX-License-Identifier: MIT
// The twins of plain tensor operators.
#include <ATen/ATen.h>

#include <cmath>

#include "core/fused_kernels.hpp"
#include "models/ops.hpp"
#include "models/ops_attention.hpp"

namespace df::ops {

namespace {

// [N, C] to broadcast over [N, C, H, W].
Tensor per_image(const Tensor& x) { return x.unsqueeze(-1).unsqueeze(-1); }

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

Tensor group_norm(const Tensor& x, const NormVectors& vectors, int64_t groups, Activation activation, const Tensor& residual) {
  const Tensor norm = at::group_norm(vectors.x_bias.defined() ? x + per_image(vectors.x_bias) : x, groups, {}, {}, group_eps);
  const Tensor u = at::addcmul(per_image(vectors.shift), norm, per_image(vectors.gain));
  Tensor y = activation == Activation::silu ? at::silu(u) : at::mish(u);
  if (residual.defined()) y = y + residual;
  return vectors.residual_bias.defined() ? y + per_image(vectors.residual_bias) : y;
}

Tensor add_bias(const Tensor& x, const Tensor& bias, const Tensor& residual) {
  const Tensor y = x + per_image(bias).to(x.scalar_type());
  return residual.defined() ? y + residual : y;
}

Tensor upsample(const Tensor& x) { return at::upsample_nearest2d(x, at::IntArrayRef{2 * x.size(2), 2 * x.size(3)}); }

Tensor concatenate(const Tensor& a, const Tensor& b) { return at::cat({a, b}, 1); }

Tensor rms_norm(const Tensor& x, const Tensor& x_bias, const Tensor& g, const Tensor& residual) {
  const Tensor shifted = x_bias.defined() ? x + per_image(x_bias) : x;
  const Tensor norm = at::linalg_vector_norm(shifted, 2, at::IntArrayRef{1}, true).clamp_min(1e-12);  // [N, 1, H, W]
  const Tensor y = shifted / norm * per_image(g * std::sqrt(static_cast<double>(x.size(1))));
  return residual.defined() ? y + residual : y;
}

Tensor linear_attention(const Tensor& qkv, const Tensor& memory, int64_t heads) {
  const int64_t n = qkv.size(0), channels = memory.size(3), pixels = qkv.size(2) * qkv.size(3);
  const auto parts = qkv.reshape({n, 3, heads, channels, pixels}).unbind(1);  // each [N, h, c, P]
  const auto extra = memory.unbind(1);                                        // each [N, h, c, M]
  const Tensor q = at::softmax(parts[0], 2) * (1.0 / std::sqrt(static_cast<double>(channels)));
  const Tensor k = at::softmax(at::cat({extra[0], parts[1]}, -1), -1);  // [N, h, c, M + P]
  const Tensor v = at::cat({extra[1], parts[2]}, -1);
  const Tensor context = at::matmul(v, k.transpose(-1, -2));  // [N, h, c of v, c of k]
  return at::matmul(context, q).reshape({n, heads * channels, qkv.size(2), qkv.size(3)});
}

Tensor full_attention(const Tensor& qkv, const Tensor& memory) {
  const auto own = by_pixel(qkv, memory).unbind(2);                                     // [N, P, h, c] each
  const auto extra = memory.to(qkv.scalar_type()).transpose(2, 3).unbind(1);            // [N, M, h, c] each
  const Tensor k = at::cat({extra[0], own[1]}, 1), v = at::cat({extra[1], own[2]}, 1);  // [N, M + P, h, c]
  return attend(by_head(own[0]), by_head(k), by_head(v), qkv);
}

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

void token_layers(const TokenLayers& network) {
  for (int64_t i = 0; i < network.tokens; ++i) {
    const auto now = [&](const Tensor& x) {
      return x.defined() ? x.select(0, x.size(0) == 1 ? 0 : network.reverse ? network.tokens - 1 - i : i) : x;
    };
    const TokenCell& cell = network.cell;
    for (const TokenLayer& layer : network.layers) {
      Tensor sum = at::linear(now(layer.x), layer.w, layer.bias);
      switch (layer.kind) {
        case TokenLayer::Kind::gru:
          now(cell.from_x).copy_(sum);
          gru(sum, now(cell.from_z), now(cell.z), now(cell.y));
          break;
        case TokenLayer::Kind::gru_backward:
          gru_backward(now(cell.from_x), now(cell.from_z), now(cell.z), sum, now(cell.dfrom_x), now(cell.dfrom_z), now(cell.dz));
          break;
        case TokenLayer::Kind::dense:
          if (layer.residual.defined()) sum = sum + now(layer.residual);
          if (layer.slope.defined()) sum = at::gelu_backward(sum, now(layer.slope));
          now(layer.out).copy_(sum);
          if (layer.gelu.defined()) now(layer.gelu).copy_(at::gelu(sum.narrow(1, 0, layer.gelu.size(2))));
      }
    }
  }
}

}  // namespace plain

}  // namespace df::ops
