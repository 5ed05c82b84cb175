// SPDX-License-Identifier: MIT
#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <fmt/format.h>

#include "cuda/arguments.hpp"
#include "cuda/convolution.cuh"
#include "cuda/convolution_weights.cuh"
#include "cuda/tables.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "ops/convolution_passes.hpp"

namespace df::ops {

namespace {

bool fits(const Tensor& x) { return x.scalar_type() == at::kBFloat16 && x.is_contiguous(at::MemoryFormat::ChannelsLast); }
bool fits(const ImagePair& x) { return fits(x.first) && (!x.second.defined() || fits(x.second)); }
bool of_kind(const Tensor& w) { return fits(w) && w.size(2) == w.size(3) && w.size(2) % 2 == 1; }

cuda::ConvolutionShape shape_of(const Tensor& images, int64_t in, int64_t out, int64_t side) {
  const auto size = [](int64_t n) { return static_cast<int>(n); };
  return {size(images.size(0)), size(images.size(2)), size(images.size(3)), size(in), size(out), size(side)};
}
cuda::Convolution forward_convolution(const ImagePair& x, const Tensor& w) {
  const auto in = static_cast<int>(w.size(1)), out = static_cast<int>(w.size(0));
  return {shape_of(x.first, in, out, w.size(2)), false, in, static_cast<int>(x.first.size(1)), out};
}
cuda::Convolution backward_convolution(const Tensor& dy, const Tensor& w, int64_t first, int64_t second) {
  const auto in = static_cast<int>(w.size(0)), row = static_cast<int>(w.size(1));
  return {shape_of(dy, in, first + second, w.size(2)), true, row, in, static_cast<int>(first)};
}

class CudaConvolutions final : public ConvolutionKernels {
 public:
  bool has_convolution(const ImagePair& x, const Tensor& w) const override;
  Tensor convolution(const ImagePair& x, const Tensor& w, const Tensor& bias) const override;
  bool has_convolution_backward(const Tensor& dy, const Tensor& w, int64_t first, int64_t second) const override;
  ImagePair convolution_backward(const Tensor& dy, const Tensor& w, int64_t first, int64_t second, const ImagePair& more) const override;
  bool has_convolution_weights(const ImagePair& x, const Tensor& dy, const Tensor& w) const override;
  Tensor convolution_weights(const ConvolutionBatches& batches, int64_t side, const Tensor& more) const override;
};

bool CudaConvolutions::has_convolution(const ImagePair& x, const Tensor& w) const {
  return fits(x) && of_kind(w) && cuda::convolution_fits(forward_convolution(x, w), multiprocessors(w));
}

Tensor CudaConvolutions::convolution(const ImagePair& x, const Tensor& w, const Tensor& bias) const {
  const c10::cuda::CUDAGuard guard(w.device());
  Tensor y = images_like(x.first, w.size(0));
  const cuda::ConvolutionImages images{{elements<bf16>(x.first), elements<bf16>(x.second)}, {}, {elements_of<bf16>(y)}, image_vector(bias)};
  C10_CUDA_CHECK(cuda::convolution(forward_convolution(x, w), multiprocessors(w), images, elements<bf16>(w), stream()));
  return y;
}

bool CudaConvolutions::has_convolution_backward(const Tensor& dy, const Tensor& w, int64_t first, int64_t second) const {
  return dy.scalar_type() == at::kBFloat16 && of_kind(w) &&
         cuda::convolution_fits(backward_convolution(dy, w, first, second), multiprocessors(w));
}

ImagePair CudaConvolutions::convolution_backward(const Tensor& dy, const Tensor& w, int64_t first, int64_t second,
                                                 const ImagePair& more) const {
  const c10::cuda::CUDAGuard guard(dy.device());
  ImagePair dx{images_like(dy, first), second > 0 ? images_like(dy, second) : Tensor()};
  const cuda::ConvolutionImages images{{elements<bf16>(dy)},
                                       {elements<bf16>(more.first), elements<bf16>(more.second)},
                                       {elements_of<bf16>(dx.first), second > 0 ? elements_of<bf16>(dx.second) : nullptr},
                                       {}};
  C10_CUDA_CHECK(cuda::convolution(backward_convolution(dy, w, first, second), multiprocessors(w), images, elements<bf16>(w), stream()));
  return dx;
}

bool CudaConvolutions::has_convolution_weights(const ImagePair& x, const Tensor& dy, const Tensor& w) const {
  const cuda::ConvolutionBatches one{{}, {}, 1, static_cast<int>(x.first.size(1)), shape_of(x.first, w.size(1), w.size(0), w.size(2))};
  return fits(x) && dy.scalar_type() == at::kBFloat16 && of_kind(w) && cuda::convolution_weights_parts(one, multiprocessors(w)) > 0;
}

Tensor CudaConvolutions::convolution_weights(const ConvolutionBatches& batches, int64_t side, const Tensor& more) const {
  if (batches.x.size() > cuda::ConvolutionBatches::most)
    throw Error(fmt::format("weights of a convolution: expected at most {} batches at a time, got {}", cuda::ConvolutionBatches::most,
                            batches.x.size()));
  const ImagePair& x = batches.x[0];
  const int64_t in = x.channels(), out = batches.dy[0].size(1);
  const c10::cuda::CUDAGuard guard(x.first.device());
  cuda::ConvolutionBatches all{
      {}, {}, static_cast<int>(batches.x.size()), static_cast<int>(x.first.size(1)), shape_of(x.first, in, out, side)};
  for (size_t i = 0; i < batches.x.size(); ++i) {
    all.x[0][i] = elements<bf16>(batches.x[i].first);
    all.x[1][i] = elements<bf16>(batches.x[i].second);
    all.dy[i] = elements<bf16>(batches.dy[i]);
  }
  const int parts = cuda::convolution_weights_parts(all, multiprocessors(x.first));
  auto partial = float_empty(x.first, {parts, out, side, side, in}), dw = float_empty(x.first, {out, side, side, in});
  C10_CUDA_CHECK(cuda::convolution_weights(all, parts, floats(more), elements_of<float>(partial), elements_of<float>(dw), stream()));
  return dw.permute({0, 3, 1, 2});
}

}  // namespace

const ConvolutionKernels& cuda_convolutions() {
  static const auto& kernels = *new CudaConvolutions;  // never destroyed: CUDA may be gone by then
  return kernels;
}

}  // namespace df::ops
