// SPDX-License-Identifier: MIT
#include "ops/pointwise.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <initializer_list>

#include "ops/image_layout.hpp"
#include "ops/kernels.hpp"

namespace df::ops {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

// The device's kernels for matrices, where they take them all.
const PointwiseKernels* kernels_for(std::initializer_list<Tensor> matrices) {
  const Tensor& first = *matrices.begin();
  if (first.is_cpu()) return nullptr;
  for (const Tensor& x : matrices) {
    if (!x.defined()) continue;
    const int64_t vector = 16 / x.element_size();
    if (x.scalar_type() != first.scalar_type() || !(x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16)) return nullptr;
    if (x.size(-1) % vector != 0 || x.stride(-1) != 1 || (x.dim() == 2 && x.stride(0) % vector != 0)) return nullptr;
    if (x.storage_offset() % vector != 0) return nullptr;
  }
  return kernels(first.device()).pointwise;
}

struct GruCell : Function<GruCell> {
  static Tensor forward(AutogradContext* context, const Tensor& from_x, const Tensor& from_z, const Tensor& z) {
    const Tensor a = rows_of_pixels(from_x), b = rows_of_pixels(from_z), state = rows_of_pixels(z), y = at::empty_like(state);
    gru(a, b, state, y);
    context->save_for_backward({a, b, state});
    return images_of(y, z);
  }
  static variable_list backward(AutogradContext* context, const variable_list& upstream) {
    const auto saved = context->get_saved_variables();
    const Tensor &a = saved[0], &b = saved[1], &state = saved[2];
    const Tensor da = at::empty_like(a), db = at::empty_like(b), dz = at::zeros_like(state);
    gru_backward(a, b, state, rows_of_pixels(upstream[0]), da, db, dz);
    return {images_of(da, upstream[0]), images_of(db, upstream[0]), images_of(dz, upstream[0])};
  }
};

}  // namespace

Tensor gru_cell(const Tensor& from_x, const Tensor& from_z, const Tensor& z) {
  if (!kernels(z.device()).pointwise || z.size(1) % 8 != 0) return plain::gru_cell(from_x, from_z, z);
  return GruCell::apply(from_x.to(z.scalar_type()), from_z.to(z.scalar_type()), z);  // the state keeps its precision
}

void add_gelu(const Tensor& x, const Tensor& bias, const Tensor& residual, const Tensor& y) {
  const auto* own = kernels_for({x, bias, residual, y});
  own ? own->add_gelu(x, bias, residual, y) : plain::add_gelu(x, bias, residual, y);
}

void gelu_backward(const Tensor& dy, const Tensor& more, const Tensor& x, const Tensor& dx) {
  const auto* own = kernels_for({dy, more, x, dx});
  own ? own->gelu_backward(dy, more, x, dx) : plain::gelu_backward(dy, more, x, dx);
}

void gru(const Tensor& a, const Tensor& b, const Tensor& z, const Tensor& y) {
  const auto* own = kernels_for({a, b, z, y});
  own ? own->gru({a, b, z}, y) : plain::gru(a, b, z, y);
}

void gru_backward(const Tensor& a, const Tensor& b, const Tensor& z, const Tensor& dy, const Tensor& da, const Tensor& db,
                  const Tensor& dz) {
  const auto* own = kernels_for({a, b, z, dy, da, db, dz});
  own ? own->gru_backward({a, b, z}, dy, da, db, dz) : plain::gru_backward(a, b, z, dy, da, db, dz);
}

}  // namespace df::ops
