// SPDX-License-Identifier: MIT
// Chains of small operators that are one operator where the device brings a kernel for them, and plain tensor operators elsewhere.
// The results agree to rounding; gradients flow through both. Tensors that may be undefined are marked `?`.
#pragma once

#include <cstdint>

#include "diffusion_forcing/core/tensor.hpp"

namespace df::ops {

// Whether the device brings kernels. They want channels last, and a bias at the norm rather than at the convolution before it.
bool fused(at::Device device);

// silu(group_norm(x + x_bias?) * (1 + scale) + shift) + residual?, where modulation? [N, 2 C] holds scale and shift.
// x [N, C, H, W]; x_bias, weight, bias [C].
Tensor group_norm_film_silu(const Tensor& x, const Tensor& x_bias, const Tensor& weight, const Tensor& bias, int64_t groups,
                            const Tensor& modulation, const Tensor& residual);

// (x + x_bias?) / ||x + x_bias?|| sqrt(C) g + residual? over the channels. x [N, C, H, W], g [1, C, 1, 1].
Tensor rms_norm(const Tensor& x, const Tensor& x_bias, const Tensor& g, const Tensor& residual);

// Queries normalised over channels, keys over pixels and memory tokens (Shen et al. 2021), scale c^-1/2.
// qkv [N, 3 heads c, H, W], memory [2, heads, c, M] (keys, values) -> [N, heads c, H, W]
Tensor linear_attention(const Tensor& qkv, const Tensor& memory, int64_t heads);

// The same as plain tensor operators: what the CPU runs, and the twins that the kernels are tested against.
namespace plain {
Tensor group_norm_film_silu(const Tensor& x, const Tensor& x_bias, const Tensor& weight, const Tensor& bias, int64_t groups,
                            const Tensor& modulation, const Tensor& residual);
Tensor rms_norm(const Tensor& x, const Tensor& x_bias, const Tensor& g, const Tensor& residual);
Tensor linear_attention(const Tensor& qkv, const Tensor& memory, int64_t heads);
}  // namespace plain

}  // namespace df::ops
