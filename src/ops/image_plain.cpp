// SPDX-License-Identifier: MIT
#include <ATen/ATen.h>

#include <cmath>

#include "ops/image.hpp"

namespace df::ops {

namespace {

// [N, C] to broadcast over [N, C, H, W].
Tensor per_image(const Tensor& x) { return x.unsqueeze(-1).unsqueeze(-1); }

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

}  // namespace plain

}  // namespace df::ops
