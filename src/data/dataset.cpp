// SPDX-License-Identifier: MIT
#include "diffusion_forcing/data/dataset.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/shape.hpp"

namespace df {

namespace {

std::string shape_of(const Tensor& tensor) { return tensor.defined() ? to_string(tensor.sizes().vec()) : "none"; }

// at::stack without its threads: loader workers that each wake the whole team of intra-op threads slow each other down.
Tensor stack_rows(const std::vector<Tensor>& rows, bool pin_memory) {
  const Tensor& first = rows.front();
  const auto plain_bytes = [&](const Tensor& row) { return row.is_cpu() && row.scalar_type() == first.scalar_type(); };
  if (!std::all_of(rows.begin(), rows.end(), plain_bytes)) return pin_memory ? at::stack(rows).pin_memory() : at::stack(rows);
  const Tensor all = at::empty(shape({static_cast<int64_t>(rows.size())}, first.sizes().vec()), first.options().pinned_memory(pin_memory));
  char* to = static_cast<char*>(all.mutable_data_ptr());
  for (const Tensor& row : rows) {
    const Tensor plain = row.contiguous();
    std::memcpy(to, plain.const_data_ptr(), plain.nbytes());
    to += plain.nbytes();
  }
  return all;
}

Tensor stack_field(const std::vector<Batch>& samples, const BatchField& field, bool pin_memory) {
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
  return first.defined() ? stack_rows(tensors, pin_memory) : Tensor();
}

}  // namespace

Batch Batch::to(at::Device device) const {
  Batch moved;
  for (const BatchField& field : batch_fields)
    if (const Tensor& tensor = this->*field.tensor; tensor.defined()) moved.*field.tensor = tensor.to(device);
  return moved;
}

Batch Batch::slice(int64_t begin, int64_t end) const {
  Batch part;
  for (const BatchField& field : batch_fields) {
    const Tensor& tensor = this->*field.tensor;
    if (!tensor.defined()) continue;
    const int64_t size = tensor.dim() > 0 ? tensor.size(0) : 0;
    if (begin < 0 || begin > end || end > size)
      throw Error(fmt::format("slice of {}: expected 0 <= begin <= end <= {}, got {} and {}", field.name, size, begin, end));
    part.*field.tensor = tensor.slice(0, begin, end);
  }
  return part;
}

Batch stack(const std::vector<Batch>& samples, bool pin_memory) {
  if (samples.empty()) throw Error("stack: expected at least one sequence, got none");
  Batch batch;
  for (const BatchField& field : batch_fields) batch.*field.tensor = stack_field(samples, field, pin_memory);
  return batch;
}

}  // namespace df
