// SPDX-License-Identifier: MIT
#pragma once

#include "core/fused_kernels.hpp"

namespace df {

// Those of the kernels that convolve: in bfloat16, channels last.
class ConvolutionKernels : public FusedKernels {
 public:
  bool has_convolution(const ImagePair& x, const Tensor& w) const override;
  Tensor convolution(const ImagePair& x, const Tensor& w, const Tensor& bias) const override;
  bool has_convolution_backward(const Tensor& dy, const Tensor& w, int64_t first, int64_t second) const override;
  ImagePair convolution_backward(const Tensor& dy, const Tensor& w, int64_t first, int64_t second, const ImagePair& more) const override;
  bool has_convolution_weights(const ImagePair& x, const Tensor& dy, const Tensor& w) const override;
  Tensor convolution_weights(const ConvolutionBatches& batches, int64_t side, const Tensor& more) const override;
};

}  // namespace df
