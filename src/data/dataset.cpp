// SPDX-License-Identifier: MIT
#include "diffusion_forcing/data/dataset.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "diffusion_forcing/core/error.hpp"

namespace df {

namespace {

struct Field {
  const char* name;
  Tensor Batch::*tensor;
};
constexpr Field kFields[] = {{"x", &Batch::x}, {"c", &Batch::c}, {"mask", &Batch::mask}, {"init", &Batch::init}, {"poses", &Batch::poses}};

std::string shape_of(const Tensor& tensor) { return tensor.defined() ? to_string(tensor.sizes().vec()) : "none"; }

Tensor stack_field(const std::vector<Batch>& samples, const Field& field) {
  const Tensor& first = samples.front().*field.tensor;
  std::vector<Tensor> tensors;
  tensors.reserve(samples.size());
  for (size_t i = 0; i < samples.size(); ++i) {
    const Tensor& tensor = samples[i].*field.tensor;
    if (tensor.defined() != first.defined() || (first.defined() && tensor.sizes() != first.sizes()))
      throw Error(fmt::format("{} of sequence {} of the batch: expected shape {} as in sequence 0, got {}", field.name, i, shape_of(first),
                              shape_of(tensor)));
    tensors.push_back(tensor);
  }
  return first.defined() ? at::stack(tensors) : Tensor();
}

}  // namespace

Batch Batch::to(at::Device device) const {
  Batch moved;
  for (const Field& field : kFields)
    if (const Tensor& tensor = this->*field.tensor; tensor.defined()) moved.*field.tensor = tensor.to(device);
  return moved;
}

Batch Batch::slice(int64_t begin, int64_t end) const {
  Batch part;
  for (const Field& field : kFields) {
    const Tensor& tensor = this->*field.tensor;
    if (!tensor.defined()) continue;
    const int64_t size = tensor.dim() > 0 ? tensor.size(0) : 0;
    if (begin < 0 || begin > end || end > size)
      throw Error(fmt::format("slice of {}: expected 0 <= begin <= end <= {}, got {} and {}", field.name, size, begin, end));
    part.*field.tensor = tensor.slice(0, begin, end);
  }
  return part;
}

Batch stack(const std::vector<Batch>& samples) {
  if (samples.empty()) throw Error("stack: expected at least one sequence, got none");
  Batch batch;
  for (const Field& field : kFields) batch.*field.tensor = stack_field(samples, field);
  return batch;
}

}  // namespace df
