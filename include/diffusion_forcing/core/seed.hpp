// SPDX-License-Identifier: MIT
// Seeds. Every random number of the library follows from (seed, stream, index...), never from call order or threads.
#pragma once

#include <ATen/core/Generator.h>

#include <cstdint>
#include <initializer_list>

#include "diffusion_forcing/core/shape.hpp"
#include "diffusion_forcing/core/tensor.hpp"

namespace df {

// Independent streams that start from the user's one seed.
enum class Stream : uint64_t { weights = 1, data, order, levels, noise, sampling, context, validation, bootstrap };

// Mixes a seed with any path of numbers (splitmix64 finaliser): child seeds are independent and order matters.
uint64_t derive_seed(uint64_t seed, std::initializer_list<uint64_t> path);
// The seed of number `index` of a stream.
inline uint64_t derive_seed(uint64_t seed, Stream stream, uint64_t index = 0) {
  return derive_seed(seed, {static_cast<uint64_t>(stream), index});
}

// A CPU generator in the state that follows from `seed`.
at::Generator make_generator(uint64_t seed);

// Standard normal float32 [shape] on the CPU: a pure function of the seed.
Tensor seeded_normal(const Shape& shape, uint64_t seed);

}  // namespace df
