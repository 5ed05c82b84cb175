// SPDX-License-Identifier: MIT
// Shape checks with names, for the public boundary of functions on tensors.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "diffusion_forcing/core/tensor.hpp"

namespace df {

using Shape = std::vector<int64_t>;

// "[2, 3, 64, 64]"; a negative size prints as "*".
std::string to_string(const Shape& shape);

// Throws df::Error "<name>: expected shape [2, *, 4], got [2, 3]" unless `tensor` is defined and matches.
// A negative entry of `expected` matches any size.
void check_shape(const Tensor& tensor, std::string_view name, const Shape& expected);

// Concatenates sizes: shape({B, T}, token_shape) is [B, T, token...].
Shape shape(const Shape& leading, const Shape& trailing);

// [n...] -> [n..., 1, ..., 1] with as many dimensions as `like`: broadcasts one number per token over its elements.
Tensor per_token(const Tensor& values, const Tensor& like);

}  // namespace df
