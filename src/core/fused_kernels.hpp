// SPDX-License-Identifier: MIT
// Kernels that a device library brings for chains of small operators and for convolutions. Each has a twin of plain tensor operators where
// it is called from (models/ops, models/convolution, sampling/cell_moves, diffusion/token_error), which decides when to call which; the
// two are compared in tests.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "core/activation.hpp"
#include "core/cell_table.hpp"

namespace df {

using at::Tensor;

// activation(group_norm(x + x_bias) * gain + shift) + residual + residual_bias, for x [N, C, H, W]. Vectors are float32 [N, C], a row for
// each image; rows may be any distance apart, 0 where images share one.
struct GroupNormInput {
  Tensor x;              // channels last, float32 or bfloat16, C divisible by 8
  Tensor gain, shift;    // of the norm and of what modulates it
  Tensor x_bias;         // or undefined: 0; of the convolution before
  Tensor residual;       // like x, or undefined: 0
  Tensor residual_bias;  // or undefined: 0
  int64_t groups;
  double eps;
  Activation activation = Activation::silu;
  bool at_once = true;  // in one kernel each way where that is faster, rather than in two
};
struct GroupNormOutput {
  Tensor y;  // like x
  // float32 [N, 2 groups + C], for the backward pass: mean and 1 / deviation of each group, then the sum of x + x_bias of each channel
  Tensor stats;
};
// Of vectors each image's own part, [N, C].
struct GroupNormGradient {
  Tensor x, gain, shift, x_bias, residual_bias;
};

// (x + x_bias) / ||x + x_bias|| sqrt(C) g + residual over the channels of x [N, C, H, W]. Vectors are float32 [N, C], a row for each image;
// rows may be any distance apart, 0 where images share one.
struct RmsNormInput {
  Tensor x;         // channels last, float32 or bfloat16, C divisible by 8 and at most 512 (float32) or 1024
  Tensor x_bias;    // or undefined: 0
  Tensor g;         // of the norm
  Tensor residual;  // like x, or undefined: 0
};
// Of vectors each image's own part, [N, C].
struct RmsNormGradient {
  Tensor x, x_bias, g;
};

// Linear attention with 32 channels a head and learned memory tokens.
struct LinearAttentionInput {
  Tensor qkv;     // bfloat16 [N, 3 heads 32, H, W], channels last
  Tensor memory;  // float32 [N, 2, heads, 32, M]: keys and values that each image also has, images any distance apart
  int64_t heads;
};
struct LinearAttentionOutput {
  Tensor out;      // bfloat16 [N, heads 32, H, W], channels last
  Tensor context;  // float32 [N heads, 32, 32], normalised and scaled: key channel, value channel
  Tensor keys;     // float32 [N heads, 2, 32], of each key channel: what exponentials are taken against, and their sum
};
struct LinearAttentionGradient {
  Tensor qkv, memory;  // the latter by image
};

// Of attention's queries, keys and values [N, P, 3, heads, c], and of memory tokens by image, float32 [N, 2, heads, M, c].
struct MemoryTokensGradient {
  Tensor qkv, memory;
};

// The gates of a GRU cell before their nonlinearities, r, u and n beside each other, from its input and from its state. Rows may be
// strided.
struct GruInput {
  Tensor from_x, from_z;  // float32 or bfloat16 [N, 3 C], biases included, C divisible by 8
  Tensor z;               // [N, C]
};

// A network of layers that is applied to token after token, each reading what layers before it have written, of the token before too.
// Tensors [tokens, B, n] or [1, B, n], where all tokens write to the same place; their rows may be strided. All of one type.
struct TokenLayer {
  enum class Kind { dense, gru, gru_backward };
  Kind kind = Kind::dense;
  Tensor x, w, bias;       // [., B, K], [N, K], [N] or undefined
  Tensor residual, slope;  // [., B, N] or undefined
  Tensor out;              // dense: (x w^T + bias + residual) gelu'(slope), without the factor where slope is undefined
  Tensor gelu;             // dense: [., B, M] or undefined: gelu of the first M columns of `out`
};
// What layers of the kinds `gru` and `gru_backward` do with x w^T + bias: it is from_x, and y is the next state; or it is the gradient of
// y, and those of from_x and from_z follow, while that of z is added to dz.
struct TokenCell {
  Tensor from_x, from_z, z, y;  // [., B, 3 C], [., B, 3 C], [., B, C], [., B, C]
  Tensor dfrom_x, dfrom_z, dz;  // like from_x, from_z, z
};
struct TokenLayers {
  std::vector<TokenLayer> layers;
  TokenCell cell;
  int64_t tokens = 0;
  bool reverse = false;  // from the last token to the first
};

// Of the prediction, and of x0, which then stands for the prediction in eps. Infinite: none.
struct CellBounds {
  double prediction, x0;
};
// What the model is called with for the cells of a CellTable: a row for each of each sequence.
struct CellInputs {
  Tensor shown, z, level;  // float32 [B n, token...], float32 [B n, latent...], int64 [B n]
};
struct CellOutputs {
  Tensor shown;          // as it went in
  Tensor prediction, z;  // [B n, token...], [B n, latent...], float32 or bfloat16
  Tensor noise;          // float32 [B, n, token...], or undefined: 0
};

// of_x0 x0 + of_eps clamp(eps, -clip, clip) of N tokens: noisy tokens, or what a network is to give for them.
struct TokenMix {
  Tensor x0, eps;        // float32 [N, token...], dense; either may be undefined: 0
  Tensor of_x0, of_eps;  // float32 [N]
  double clip;
  const Tensor& tokens() const { return x0.defined() ? x0 : eps; }  // one that is there
};
struct TokenError {
  TokenMix target;
  Tensor
      prediction;  // float32 or bfloat16 [N, token...], gapless; all but the first two dimensions lie as one, as in either layout of images
  Tensor weight;   // float32 [N, frames]: a token's elements are divided evenly among its frames
};

// Images beside each other in their channels, [N, A, H, W] and [N, B, H, W], or the first alone.
struct ImagePair {
  Tensor first, second;  // the latter may be undefined
  int64_t channels() const { return first.size(1) + (second.defined() ? second.size(1) : 0); }
};
// Images before a convolution and gradients after it, of several batches, at most 16. All of the same sizes: only those of the first are
// looked at.
struct ConvolutionBatches {
  std::vector<ImagePair> x;
  std::vector<Tensor> dy;
};

class FusedKernels {
 public:
  virtual ~FusedKernels() = default;
  virtual GroupNormOutput group_norm(const GroupNormInput& input) const = 0;
  virtual GroupNormGradient group_norm_backward(const GroupNormInput& input, const Tensor& stats, const Tensor& dy) const = 0;
  // x [N, C, H, W] channels last, float32 or bfloat16, C divisible by 8: x + bias + residual, with bias float32 [N, C], rows any distance
  // apart, and residual like x or undefined; and the sums over its pixels, float32 [N, C].
  virtual Tensor add_bias(const Tensor& x, const Tensor& bias, const Tensor& residual) const = 0;
  virtual Tensor pixel_sums(const Tensor& x) const = 0;
  // The same images with every pixel twice in each direction, and the gradient of the smaller ones.
  virtual Tensor upsample(const Tensor& x) const = 0;
  virtual Tensor upsample_backward(const Tensor& dy) const = 0;
  // a [N, A, H, W] and b [N, B, H, W] beside each other in their channels: channels last, of one type, A and B divisible by 8.
  virtual Tensor concatenate(const Tensor& a, const Tensor& b) const = 0;
  // Images [N, C, H, W] with channels innermost and pixels `row` elements apart, such as a part of concatenated ones, by themselves; plus
  // `more`, channels last, or undefined. C and `row` divisible by 8.
  virtual Tensor gather(const Tensor& x, int64_t row, const Tensor& more) const = 0;
  virtual Tensor rms_norm(const RmsNormInput& input) const = 0;
  // That of x plus `more` like it, or undefined.
  virtual RmsNormGradient rms_norm_backward(const RmsNormInput& input, const Tensor& dy, const Tensor& more) const = 0;
  virtual LinearAttentionOutput linear_attention(const LinearAttentionInput& input) const = 0;
  virtual LinearAttentionGradient linear_attention_backward(const LinearAttentionInput& input, const LinearAttentionOutput& output,
                                                            const Tensor& dout) const = 0;
  // Keys and values [2, N, M + P, heads, c], those of the memory first: qkv [N, P, 3, heads, c], float32 or bfloat16, c divisible by 8;
  // memory float32 [N, 2, heads, M, c], images any distance apart.
  virtual Tensor with_memory(const Tensor& qkv, const Tensor& memory) const = 0;
  // dq [N, P, heads, c], dk and dv [N, M + P, heads, c]
  virtual MemoryTokensGradient with_memory_backward(const Tensor& dq, const Tensor& dk, const Tensor& dv) const = 0;
  // Matrices [N, C] of one type, float32 or bfloat16, C divisible by 8; rows may be strided, and start at multiples of 16 bytes.
  // x += bias + residual (either may be undefined), y = gelu(x), or dx = (dy + more) gelu'(x); bias [C] like x.
  virtual void add_gelu(const Tensor& x, const Tensor& bias, const Tensor& residual, const Tensor& y) const = 0;
  virtual void gelu_backward(const Tensor& dy, const Tensor& more, const Tensor& x, const Tensor& dx) const = 0;
  // y = the next state; gradients of the gates, and that of z added to dz.
  virtual void gru(const GruInput& input, const Tensor& y) const = 0;
  virtual void gru_backward(const GruInput& input, const Tensor& dy, const Tensor& dfrom_x, const Tensor& dfrom_z,
                            const Tensor& dz) const = 0;
  // x float32 [B, slots, token...], z float32 [B, slots, latent...], dense; the table beside them. The second writes into them.
  virtual CellInputs gather_cells(const Tensor& table, const Tensor& x, const Tensor& z) const = 0;
  virtual void move_cells(const Tensor& table, const CellOutputs& outputs, const CellBounds& bounds, const Tensor& x,
                          const Tensor& z) const = 0;
  virtual Tensor mix_tokens(const TokenMix& mix) const = 0;
  // Mean over all elements of weight (target - prediction)^2, and the gradient of the prediction, laid out as it is.
  virtual Tensor weighted_error(const TokenError& error) const = 0;
  virtual Tensor weighted_error_backward(const TokenError& error, const Tensor& upstream) const = 0;
  // Convolutions with a border of zeros that keep the images' size, of C channels in all: w [K, C, n, n], C divisible by 8. Whether there
  // is a kernel that is faster than a general one, for tensors that lie like these; and its result. That the sizes agree, that all start at
  // multiples of 16 bytes and that gradients, too, are channels last is up to the caller.
  virtual bool has_convolution(const ImagePair& x, const Tensor& w) const = 0;
  // Plus a bias by image, float32 [N, K] with rows any distance apart, or undefined.
  virtual Tensor convolution(const ImagePair& x, const Tensor& w, const Tensor& bias) const = 0;
  // Gradients of images of `first` channels and then of `second` (or 0: none are wanted) from dy [N, K, H, W]; plus `more` like them, of
  // which each may be undefined.
  virtual bool has_convolution_backward(const Tensor& dy, const Tensor& w, int64_t first, int64_t second) const = 0;
  virtual ImagePair convolution_backward(const Tensor& dy, const Tensor& w, int64_t first, int64_t second, const ImagePair& more) const = 0;
  // Float32 and channels last, like w: the sum of its gradients over batches, plus `more`, another such sum, or undefined. Of dy only the
  // type is asked for.
  virtual bool has_convolution_weights(const ImagePair& x, const Tensor& dy, const Tensor& w) const = 0;
  virtual Tensor convolution_weights(const ConvolutionBatches& batches, int64_t side, const Tensor& more) const = 0;
  // bfloat16, sizes divisible by 8, addresses and strides by 16 bytes.
  virtual void token_layers(const TokenLayers& network) const = 0;
};

// Those of the library of `device`; null where there are none (the CPU, or a device that was never asked for).
const FusedKernels* fused_kernels(at::Device device);
// From now on those of all devices of the type; they must outlive their use. Null: none.
void set_fused_kernels(at::DeviceType type, const FusedKernels* kernels);

}  // namespace df
