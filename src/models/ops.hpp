// SPDX-License-Identifier: MIT
// Chains of small operators that are one operator where the device brings a kernel for them, and plain tensor operators elsewhere.
// The results agree to rounding; gradients flow through both. Tensors that may be undefined are marked `?`.
#pragma once

#include <cstdint>
#include <utility>

#include "core/activation.hpp"
#include "diffusion_forcing/core/tensor.hpp"

namespace df {
struct TokenLayers;
}

namespace df::ops {

// Whether the device brings kernels. They want channels last, and a bias at the norm rather than at the convolution before it.
bool fused(at::Device device);
// x [N, C, H, W] with channels innermost in memory: x itself where they are; undefined stays so.
Tensor channels_last(const Tensor& x);

// Vectors [N, C] of images as kernels take them: float32, rows any distance apart; undefined stays so.
Tensor float_rows(const Tensor& vectors);

constexpr double group_eps = 1e-5;
// Of each image a vector [N, C]. Gradients are those of each image, so that what images share is summed where it was expanded.
struct NormVectors {
  Tensor gain, shift;
  Tensor x_bias, residual_bias;  // may be undefined
};
// activation(group_norm(x + x_bias?) * gain + shift) + residual? + residual_bias?, x [N, C, H, W].
Tensor group_norm(const Tensor& x, const NormVectors& vectors, int64_t groups, Activation activation, const Tensor& residual);

// x + bias + residual?, x [N, C, H, W], bias [N, C], of whose gradient each image gives its own.
Tensor add_bias(const Tensor& x, const Tensor& bias, const Tensor& residual);

// The gradient of such a bias: [N, C] from dy [N, C, H, W]. No gradients flow through.
Tensor pixel_sums(const Tensor& dy);

// Every pixel twice in each direction: [N, C, H, W] -> [N, C, 2 H, 2 W].
Tensor upsample(const Tensor& x);

// Beside each other in their channels: [N, A, H, W], [N, B, H, W] -> [N, A + B, H, W].
Tensor concatenate(const Tensor& a, const Tensor& b);
// x for two uses, of which the second is to be concatenated: the gradients of both are added where they lie.
std::pair<Tensor, Tensor> fork(const Tensor& x);

// (x + x_bias?) / ||x + x_bias?|| sqrt(C) g + residual? over the channels. x [N, C, H, W], vectors [N, C], of whose gradients each image
// gives its own.
Tensor rms_norm(const Tensor& x, const Tensor& x_bias, const Tensor& g, const Tensor& residual);
// The norm of x, and x for another use: the gradients of both are added as they arise.
std::pair<Tensor, Tensor> rms_norm_and_images(const Tensor& x, const Tensor& g);

// Queries normalised over channels, keys over pixels and memory tokens (Shen et al. 2021), scale c^-1/2.
// qkv [N, 3 heads c, H, W], memory [N, 2, heads, c, M] (keys, values) of each image -> [N, heads c, H, W]
Tensor linear_attention(const Tensor& qkv, const Tensor& memory, int64_t heads);

// Softmax attention between all pixels, keys and values of memory tokens included, which each image has of its own.
// qkv [N, 3 heads c, H, W], memory [N, 2, heads, M, c] (keys, values) -> [N, heads c, H, W]
Tensor full_attention(const Tensor& qkv, const Tensor& memory);

// The state after a GRU cell at each pixel, as `gru` below has it: from_x, from_z [N, 3 C, H, W], z [N, C, H, W] -> [N, C, H, W], of z's
// type.
Tensor gru_cell(const Tensor& from_x, const Tensor& from_z, const Tensor& z);

// The following write into given tensors, compute no gradients and take matrices [N, C] whose rows may be strided.
// x += bias? + residual?, y = gelu(x). bias [C].
void add_gelu(const Tensor& x, const Tensor& bias, const Tensor& residual, const Tensor& y);
// dx = (dy + more?) gelu'(x)
void gelu_backward(const Tensor& dy, const Tensor& more, const Tensor& x, const Tensor& dx);
// The state after a GRU cell: r = sigmoid(a_r + b_r), u = sigmoid(a_u + b_u), n = tanh(a_n + r b_n), y = n + u (z - n), from what the gates
// get from the input, a [N, 3 C], and from the state, b [N, 3 C], r, u and n beside each other. z, y [N, C].
void gru(const Tensor& a, const Tensor& b, const Tensor& z, const Tensor& y);
// Gradients of a and b from that of y; that of z is added to dz.
void gru_backward(const Tensor& a, const Tensor& b, const Tensor& z, const Tensor& dy, const Tensor& da, const Tensor& db,
                  const Tensor& dz);

// Runs the network (core/fused_kernels.hpp) over all its tokens.
void token_layers(const TokenLayers& network);
// Whether a kernel runs it, rather than one operator after the other.
bool token_layers_fused(const TokenLayers& network);

// The same as plain tensor operators: what the CPU runs, and the twins that the kernels are tested against.
namespace plain {
Tensor group_norm(const Tensor& x, const NormVectors& vectors, int64_t groups, Activation activation, const Tensor& residual);
Tensor add_bias(const Tensor& x, const Tensor& bias, const Tensor& residual);
Tensor upsample(const Tensor& x);
Tensor concatenate(const Tensor& a, const Tensor& b);
Tensor rms_norm(const Tensor& x, const Tensor& x_bias, const Tensor& g, const Tensor& residual);
Tensor linear_attention(const Tensor& qkv, const Tensor& memory, int64_t heads);
Tensor full_attention(const Tensor& qkv, const Tensor& memory);
Tensor gru_cell(const Tensor& from_x, const Tensor& from_z, const Tensor& z);
void add_gelu(const Tensor& x, const Tensor& bias, const Tensor& residual, const Tensor& y);
void gelu_backward(const Tensor& dy, const Tensor& more, const Tensor& x, const Tensor& dx);
void gru(const Tensor& a, const Tensor& b, const Tensor& z, const Tensor& y);
void gru_backward(const Tensor& a, const Tensor& b, const Tensor& z, const Tensor& dy, const Tensor& da, const Tensor& db,
                  const Tensor& dz);
void token_layers(const TokenLayers& network);
}  // namespace plain

}  // namespace df::ops
