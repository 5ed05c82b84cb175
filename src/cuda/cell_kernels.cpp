// SPDX-License-Identifier: MIT
#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>

#include "cuda/arguments.hpp"
#include "cuda/cell_moves.cuh"
#include "cuda/tables.hpp"
#include "ops/cell_moves.hpp"

namespace df::ops {

namespace {

class CudaCells final : public CellKernels {
 public:
  CellInputs gather_cells(const Tensor& table, const Tensor& x, const Tensor& z) const override {
    const c10::cuda::CUDAGuard guard(x.device());
    const int64_t sequences = x.size(0), cells = table.size(1);
    const auto rows_for = [&](const Tensor& buffer) {
      std::vector<int64_t> sizes = buffer.sizes().slice(1).vec();
      sizes[0] = sequences * cells;
      return float_empty(buffer, sizes);
    };
    CellInputs in{rows_for(x), rows_for(z), at::empty({sequences * cells}, x.options().dtype(at::kLong))};
    cuda::gather_cells(table.const_data_ptr<int>(), static_cast<int>(sequences), static_cast<int>(cells), cell_buffer(x), cell_buffer(z),
                       elements_of<float>(in.shown), elements_of<float>(in.z), elements_of<long>(in.level), stream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return in;
  }

  void move_cells(const Tensor& table, const CellOutputs& outputs, const CellBounds& bounds, const Tensor& x,
                  const Tensor& z) const override {
    const c10::cuda::CUDAGuard guard(x.device());
    const Tensor noise = outputs.noise.defined() ? outputs.noise.contiguous() : Tensor();
    with_type(outputs.prediction, [&](auto prediction) {
      with_type(outputs.z, [&](auto latent) {
        cuda::move_cells(table.const_data_ptr<int>(), static_cast<int>(x.size(0)), static_cast<int>(table.size(1)), floats(outputs.shown),
                         cell_images<decltype(prediction)>(outputs.prediction), cell_images<decltype(latent)>(outputs.z), floats(noise),
                         static_cast<float>(bounds.prediction), static_cast<float>(bounds.x0), cell_buffer(x), cell_buffer(z), stream());
      });
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }
};

}  // namespace

const CellKernels& cuda_cells() {
  static const auto& kernels = *new CudaCells;  // never destroyed: CUDA may be gone by then
  return kernels;
}

}  // namespace df::ops
