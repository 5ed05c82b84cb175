// SPDX-License-Identifier: MIT
#include "diffusion_forcing/core/shape.hpp"

#include <ATen/ATen.h>

#include "diffusion_forcing/core/error.hpp"

namespace df {

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + (shape[i] < 0 ? std::string("*") : std::to_string(shape[i]));
  return text + "]";
}

void check_shape(const Tensor& tensor, std::string_view name, const Shape& expected) {
  if (!tensor.defined()) throw Error(std::string(name) + ": expected shape " + to_string(expected) + ", got an undefined tensor");
  bool match = tensor.dim() == static_cast<int64_t>(expected.size());
  for (size_t i = 0; match && i < expected.size(); ++i) match = expected[i] < 0 || expected[i] == tensor.size(static_cast<int64_t>(i));
  if (!match) throw Error(std::string(name) + ": expected shape " + to_string(expected) + ", got " + to_string(tensor.sizes().vec()));
}

Shape shape(const Shape& leading, const Shape& trailing) {
  Shape all = leading;
  all.insert(all.end(), trailing.begin(), trailing.end());
  return all;
}

Tensor per_token(const Tensor& values, const Tensor& like) {
  Shape sizes = values.sizes().vec();
  sizes.resize(static_cast<size_t>(like.dim()), 1);
  return values.reshape(sizes);
}

}  // namespace df
