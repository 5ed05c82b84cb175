// SPDX-License-Identifier: MIT
#include "diffusion_forcing/core/seed.hpp"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

namespace df {

namespace {

uint64_t mix(uint64_t v) {  // splitmix64's finaliser
  v += 0x9e3779b97f4a7c15ULL;
  v = (v ^ (v >> 30)) * 0xbf58476d1ce4e5b9ULL;
  v = (v ^ (v >> 27)) * 0x94d049bb133111ebULL;
  return v ^ (v >> 31);
}

}  // namespace

uint64_t derive_seed(uint64_t seed, std::initializer_list<uint64_t> path) {
  uint64_t state = mix(seed);
  for (const uint64_t part : path) state = mix(state ^ mix(part));
  return state;
}

at::Generator make_generator(uint64_t seed) { return at::detail::createCPUGenerator(seed); }

Tensor seeded_normal(const Shape& shape, uint64_t seed) { return at::randn(shape, make_generator(seed), at::TensorOptions(at::kFloat)); }

}  // namespace df
