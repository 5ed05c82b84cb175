// SPDX-License-Identifier: MIT
// Operators on images [N, C, H, W]: norms, biases, resizing, joining. Each is one kernel where the device brings one
// (cuda/image_kernels.cpp) and a chain of tensor operators elsewhere (ops/image_plain.cpp). The results agree to rounding, and gradients
// flow through both.
#pragma once

#include <cstdint>
#include <utility>

#include "diffusion_forcing/core/tensor.hpp"
#include "ops/activation.hpp"

namespace df::ops {

constexpr double group_eps = 1e-5;
// Of each image a vector [N, C]. Gradients are those of each image, so that what images share is summed where it was expanded.
struct NormVectors {
  Tensor gain, shift;
  Tensor x_bias, residual_bias;  // may be undefined
};

// activation(group_norm(x + x_bias) * gain + shift) + residual + residual_bias. The biases and the residual may be undefined.
Tensor group_norm(const Tensor& x, const NormVectors& vectors, int64_t groups, Activation activation, const Tensor& residual);

// x + bias + residual, with bias [N, C], of whose gradient each image gives its own. The residual may be undefined.
Tensor add_bias(const Tensor& x, const Tensor& bias, const Tensor& residual);

// The gradient of such a bias: [N, C] from dy [N, C, H, W]. No gradients flow through.
Tensor pixel_sums(const Tensor& dy);

// Every pixel twice in each direction: [N, C, H, W] -> [N, C, 2 H, 2 W].
Tensor upsample(const Tensor& x);

// Beside each other in their channels: [N, A, H, W], [N, B, H, W] -> [N, A + B, H, W].
Tensor concatenate(const Tensor& a, const Tensor& b);

// x twice, for two uses of which the second is to be concatenated. The two gradients are then added in one pass.
std::pair<Tensor, Tensor> fork(const Tensor& x);

// (x + x_bias) / ||x + x_bias|| sqrt(C) g + residual over the channels. Vectors [N, C], of whose gradients each image gives its own. The
// bias and the residual may be undefined.
Tensor rms_norm(const Tensor& x, const Tensor& x_bias, const Tensor& g, const Tensor& residual);
// The norm of x, and x for another use. The gradient of the second is added while that of the first is computed.
std::pair<Tensor, Tensor> rms_norm_and_images(const Tensor& x, const Tensor& g);

namespace plain {
Tensor group_norm(const Tensor& x, const NormVectors& vectors, int64_t groups, Activation activation, const Tensor& residual);
Tensor add_bias(const Tensor& x, const Tensor& bias, const Tensor& residual);
Tensor upsample(const Tensor& x);
Tensor concatenate(const Tensor& a, const Tensor& b);
Tensor rms_norm(const Tensor& x, const Tensor& x_bias, const Tensor& g, const Tensor& residual);
}  // namespace plain

// What the kernels take. In the structs below images are channels last, float32 or bfloat16, with C divisible by 8. Vectors are float32
// [N, C], a row for each image; rows may be any distance apart, 0 where images share one. Gradients of vectors are each image's own part.
struct GroupNormInput {
  Tensor x;
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
struct GroupNormGradient {
  Tensor x, gain, shift, x_bias, residual_bias;
};

struct RmsNormInput {
  Tensor x;         // C at most 512 (float32) or 1024
  Tensor x_bias;    // or undefined: 0
  Tensor g;         // of the norm
  Tensor residual;  // like x, or undefined: 0
};
struct RmsNormGradient {
  Tensor x, x_bias, g;
};

class ImageKernels {
 public:
  virtual ~ImageKernels() = default;
  virtual GroupNormOutput group_norm(const GroupNormInput& input) const = 0;
  virtual GroupNormGradient group_norm_backward(const GroupNormInput& input, const Tensor& stats, const Tensor& dy) const = 0;
  // x + bias + residual, the residual like x or undefined; and the sums over its pixels, float32 [N, C].
  virtual Tensor add_bias(const Tensor& x, const Tensor& bias, const Tensor& residual) const = 0;
  virtual Tensor pixel_sums(const Tensor& x) const = 0;
  // The same images with every pixel twice in each direction, and the gradient of the smaller ones.
  virtual Tensor upsample(const Tensor& x) const = 0;
  virtual Tensor upsample_backward(const Tensor& dy) const = 0;
  // a [N, A, H, W] and b [N, B, H, W] beside each other in their channels, of one type, A and B divisible by 8.
  virtual Tensor concatenate(const Tensor& a, const Tensor& b) const = 0;
  // Images [N, C, H, W] with channels innermost and pixels `row` elements apart, such as a part of concatenated ones, by themselves; plus
  // `more`, channels last, or undefined. C and `row` divisible by 8.
  virtual Tensor gather(const Tensor& x, int64_t row, const Tensor& more) const = 0;
  virtual Tensor rms_norm(const RmsNormInput& input) const = 0;
  // That of x plus `more` like it, or undefined.
  virtual RmsNormGradient rms_norm_backward(const RmsNormInput& input, const Tensor& dy, const Tensor& more) const = 0;
};

}  // namespace df::ops
