// SPDX-License-Identifier: MIT
#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>

#include "cuda/arguments.hpp"
#include "cuda/pointwise.cuh"
#include "cuda/tables.hpp"
#include "ops/pointwise.hpp"

namespace df::ops {

namespace {

class CudaPointwise final : public PointwiseKernels {
 public:
  void add_gelu(const Tensor& x, const Tensor& bias, const Tensor& residual, const Tensor& y) const override {
    const c10::cuda::CUDAGuard guard(x.device());
    with_type(x, [&](auto type) {
      using T = decltype(type);
      cuda::add_gelu<T>(static_cast<int>(x.size(0)), static_cast<int>(x.size(1)), rows_of<T>(x), elements<T>(bias), rows<T>(residual),
                        rows_of<T>(y), stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }

  void gelu_backward(const Tensor& dy, const Tensor& more, const Tensor& x, const Tensor& dx) const override {
    const c10::cuda::CUDAGuard guard(x.device());
    with_type(x, [&](auto type) {
      using T = decltype(type);
      cuda::gelu_backward<T>(static_cast<int>(x.size(0)), static_cast<int>(x.size(1)), rows<T>(dy), rows<T>(more), rows<T>(x),
                             rows_of<T>(dx), stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }

  void gru(const GruInput& in, const Tensor& y) const override {
    const c10::cuda::CUDAGuard guard(y.device());
    with_type(y, [&](auto type) {
      using T = decltype(type);
      cuda::gru<T>(static_cast<int>(y.size(0)), static_cast<int>(y.size(1)), rows<T>(in.from_x), rows<T>(in.from_z), rows<T>(in.z),
                   rows_of<T>(y), stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }

  void gru_backward(const GruInput& in, const Tensor& dy, const Tensor& dfrom_x, const Tensor& dfrom_z, const Tensor& dz) const override {
    const c10::cuda::CUDAGuard guard(dy.device());
    with_type(dy, [&](auto type) {
      using T = decltype(type);
      cuda::gru_backward<T>(static_cast<int>(dy.size(0)), static_cast<int>(dy.size(1)), rows<T>(in.from_x), rows<T>(in.from_z),
                            rows<T>(in.z), rows<T>(dy), rows_of<T>(dfrom_x), rows_of<T>(dfrom_z), rows_of<T>(dz), stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }
};

}  // namespace

const PointwiseKernels& cuda_pointwise() {
  static const auto& kernels = *new CudaPointwise;  // never destroyed: CUDA may be gone by then
  return kernels;
}

}  // namespace df::ops
