// SPDX-License-Identifier: MIT
#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>

#include "cuda/arguments.hpp"
#include "cuda/concatenate.cuh"
#include "cuda/group_norm.cuh"
#include "cuda/image_bias.cuh"
#include "cuda/rms_norm.cuh"
#include "cuda/tables.hpp"
#include "cuda/upsample.cuh"
#include "ops/image.hpp"

namespace df::ops {

namespace {

class CudaImages final : public ImageKernels {
 public:
  GroupNormOutput group_norm(const GroupNormInput& in) const override {
    const c10::cuda::CUDAGuard guard(in.x.device());
    const auto s = shape_of(in);
    GroupNormOutput out{like(in.x), float_empty(in.x, {s.images, 2 * s.groups + s.channels})};
    with_type_and_activation(in, [&](auto type, auto activation) {
      using T = decltype(type);
      constexpr Activation A = activation;
      if (at_once<T>(in, s)) {
        C10_CUDA_CHECK((cuda::group_norm_at_once<T, A>(s, parameters_of(in), elements<T>(in.x), elements<T>(in.residual),
                                                       elements_of<float>(out.stats), elements_of<T>(out.y), stream())));
        return;
      }
      auto partial = float_empty(in.x, {s.images, s.chunks, 2, s.channels});
      cuda::group_norm<T, A>(s, parameters_of(in), elements<T>(in.x), elements<T>(in.residual), elements_of<float>(partial),
                             elements_of<float>(out.stats), elements_of<T>(out.y), stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return out;
  }

  GroupNormGradient group_norm_backward(const GroupNormInput& in, const Tensor& stats, const Tensor& dy) const override {
    const c10::cuda::CUDAGuard guard(in.x.device());
    const auto s = shape_of(in);
    GroupNormGradient out;
    out.x = like(in.x);
    auto vectors = float_empty(in.x, {4, s.images, s.channels});
    with_type_and_activation(in, [&](auto type, auto activation) {
      using T = decltype(type);
      constexpr Activation A = activation;
      if (at_once<T>(in, s)) {
        C10_CUDA_CHECK((cuda::group_norm_backward_at_once<T, A>(s, parameters_of(in), elements<T>(in.x), elements<T>(dy), floats(stats),
                                                                elements_of<T>(out.x), elements_of<float>(vectors), stream())));
        return;
      }
      auto partial = float_empty(in.x, {s.images, s.chunks, 3, s.channels});
      cuda::group_norm_backward<T, A>(s, parameters_of(in), elements<T>(in.x), elements<T>(dy), floats(stats), elements_of<float>(partial),
                                      elements_of<T>(out.x), elements_of<float>(vectors), stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    out.gain = vectors[0];
    out.shift = vectors[1];
    if (in.x_bias.defined()) out.x_bias = vectors[2];
    if (in.residual_bias.defined()) out.residual_bias = vectors[3];
    return out;
  }

  Tensor add_bias(const Tensor& x, const Tensor& bias, const Tensor& residual) const override {
    const c10::cuda::CUDAGuard guard(x.device());
    auto y = like(x);
    with_type(x, [&](auto type) {
      using T = decltype(type);
      cuda::add_bias<T>(static_cast<int>(x.size(0)), static_cast<int>(x.size(2) * x.size(3)), static_cast<int>(x.size(1)), elements<T>(x),
                        image_vector(bias), elements<T>(residual), elements_of<T>(y), stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return y;
  }

  Tensor pixel_sums(const Tensor& x) const override {
    const c10::cuda::CUDAGuard guard(x.device());
    auto sums = float_empty(x, {x.size(0), x.size(1)});
    with_type(x, [&](auto type) {
      using T = decltype(type);
      cuda::pixel_sums<T>(static_cast<int>(x.size(0)), static_cast<int>(x.size(2) * x.size(3)), static_cast<int>(x.size(1)), elements<T>(x),
                          elements_of<float>(sums), stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return sums;
  }

  Tensor upsample(const Tensor& x) const override {
    const c10::cuda::CUDAGuard guard(x.device());
    auto y = at::empty({x.size(0), x.size(1), 2 * x.size(2), 2 * x.size(3)}, x.options(), at::MemoryFormat::ChannelsLast);
    with_type(x, [&](auto type) {
      using T = decltype(type);
      cuda::upsample<T>(static_cast<int>(x.size(0) * x.size(2)), static_cast<int>(x.size(3)), static_cast<int>(x.size(1)), elements<T>(x),
                        elements_of<T>(y), stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return y;
  }

  Tensor upsample_backward(const Tensor& dy) const override {
    const c10::cuda::CUDAGuard guard(dy.device());
    const int64_t height = dy.size(2) / 2, width = dy.size(3) / 2;
    auto dx = at::empty({dy.size(0), dy.size(1), height, width}, dy.options(), at::MemoryFormat::ChannelsLast);
    with_type(dy, [&](auto type) {
      using T = decltype(type);
      cuda::upsample_backward<T>(static_cast<int>(dy.size(0) * height), static_cast<int>(width), static_cast<int>(dy.size(1)),
                                 elements<T>(dy), elements_of<T>(dx), stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return dx;
  }

  Tensor concatenate(const Tensor& a, const Tensor& b) const override {
    const c10::cuda::CUDAGuard guard(a.device());
    auto y = images_like(a, a.size(1) + b.size(1));
    with_type(a, [&](auto type) {
      using T = decltype(type);
      cuda::concatenate<T>(static_cast<int>(a.numel() / a.size(1)), static_cast<int>(a.size(1)), static_cast<int>(b.size(1)),
                           elements<T>(a), elements<T>(b), elements_of<T>(y), stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return y;
  }

  Tensor gather(const Tensor& x, int64_t row, const Tensor& more) const override {
    const c10::cuda::CUDAGuard guard(x.device());
    auto y = like(x);
    with_type(x, [&](auto type) {
      using T = decltype(type);
      cuda::gather<T>(static_cast<int>(x.numel() / x.size(1)), static_cast<int>(x.size(1)), static_cast<int>(row), elements<T>(x),
                      elements<T>(more), elements_of<T>(y), stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return y;
  }

  Tensor rms_norm(const RmsNormInput& in) const override {
    const c10::cuda::CUDAGuard guard(in.x.device());
    auto y = like(in.x);
    with_type(in.x, [&](auto type) {
      using T = decltype(type);
      cuda::rms_norm<T>(shape_of(in), image_vector(in.x_bias), image_vector(in.g), elements<T>(in.x), elements<T>(in.residual),
                        elements_of<T>(y), stream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return y;
  }

  RmsNormGradient rms_norm_backward(const RmsNormInput& in, const Tensor& dy, const Tensor& more) const override {
    const c10::cuda::CUDAGuard guard(in.x.device());
    RmsNormGradient out;
    out.x = like(in.x);
    auto vectors = float_empty(in.x, {in.x_bias.defined() ? 2 : 1, in.x.size(0), in.x.size(1)});
    with_type(in.x, [&](auto type) {
      using T = decltype(type);
      C10_CUDA_CHECK(cuda::rms_norm_backward<T>(shape_of(in), image_vector(in.x_bias), image_vector(in.g), elements<T>(in.x),
                                                elements<T>(dy), elements<T>(more), elements_of<T>(out.x), elements_of<float>(vectors),
                                                stream()));
    });
    out.g = vectors[0];
    if (in.x_bias.defined()) out.x_bias = vectors[1];
    return out;
  }
};

}  // namespace

const ImageKernels& cuda_images() {
  static const auto& kernels = *new CudaImages;  // never destroyed: CUDA may be gone by then
  return kernels;
}

}  // namespace df::ops
