// SPDX-License-Identifier: MIT
#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>

#include "cuda/arguments.hpp"
#include "cuda/tables.hpp"
#include "cuda/token_error.cuh"
#include "ops/token_error.hpp"

namespace df::ops {

namespace {

class CudaErrors final : public ErrorKernels {
 public:
  Tensor mix_tokens(const TokenMix& mix) const override {
    const c10::cuda::CUDAGuard guard(mix.tokens().device());
    auto out = at::empty_like(mix.tokens());
    cuda::mix_tokens(token_mix(mix), elements_of<float>(out), stream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return out;
  }

  Tensor weighted_error(const TokenError& error) const override {
    const c10::cuda::CUDAGuard guard(error.prediction.device());
    const auto mix = token_mix(error.target);
    auto partial = float_empty(error.prediction, {cuda::error_blocks(mix)});
    with_type(error.prediction, [&](auto type) {
      cuda::weighted_error(mix, cell_images<decltype(type)>(error.prediction), floats(error.weight), static_cast<int>(error.weight.size(1)),
                           elements_of<float>(partial), stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return partial.sum() / error.prediction.numel();
  }

  Tensor weighted_error_backward(const TokenError& error, const Tensor& upstream) const override {
    const c10::cuda::CUDAGuard guard(error.prediction.device());
    auto gradient = at::empty_like(error.prediction);
    const Tensor scale = upstream.to(at::kFloat);
    with_type(error.prediction, [&](auto type) {
      using T = decltype(type);
      cuda::weighted_error_backward(token_mix(error.target), cell_images<T>(error.prediction), floats(error.weight),
                                    static_cast<int>(error.weight.size(1)), floats(scale), 1.0f / static_cast<float>(gradient.numel()),
                                    elements_of<T>(gradient), stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return gradient;
  }
};

}  // namespace

const ErrorKernels& cuda_errors() {
  static const auto& kernels = *new CudaErrors;  // never destroyed: CUDA may be gone by then
  return kernels;
}

}  // namespace df::ops
