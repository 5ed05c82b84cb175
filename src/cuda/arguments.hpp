// SPDX-License-Identifier: MIT
// What kernels are called with, from tensors: pointers, shapes, how the work is cut.
#pragma once

#include <ATen/ATen.h>
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_bf16.h>

#include <algorithm>
#include <type_traits>

#include "cuda/cell_moves.cuh"
#include "cuda/group_norm.cuh"
#include "cuda/linear_attention.cuh"
#include "cuda/pointwise.cuh"
#include "cuda/rms_norm.cuh"
#include "cuda/token_error.cuh"
#include "ops/attention.hpp"
#include "ops/image.hpp"
#include "ops/token_error.hpp"

namespace df::ops {

using bf16 = __nv_bfloat16;

inline const float* floats(const Tensor& x) { return x.defined() ? x.const_data_ptr<float>() : nullptr; }

template <class T>
const T* elements(const Tensor& x) {
  return x.defined() ? static_cast<const T*>(x.const_data_ptr()) : nullptr;
}
template <class T>
T* elements_of(Tensor& x) {
  return static_cast<T*>(x.mutable_data_ptr());
}

// Calls f with a value of the element type.
template <class F>
void with_type(const Tensor& x, F&& f) {
  if (x.scalar_type() == at::kBFloat16)
    f(bf16());
  else
    f(float());
}

// Calls f with a value of the element type and the activation as a constant.
template <class F>
void with_type_and_activation(const GroupNormInput& in, F&& f) {
  with_type(in.x, [&](auto type) {
    if (in.activation == Activation::mish)
      f(type, std::integral_constant<Activation, Activation::mish>());
    else
      f(type, std::integral_constant<Activation, Activation::silu>());
  });
}

inline int multiprocessors(const Tensor& on) { return at::cuda::getDeviceProperties(on.get_device())->multiProcessorCount; }
inline cudaStream_t stream() { return c10::cuda::getCurrentCUDAStream(); }

inline Tensor float_empty(const Tensor& like, at::IntArrayRef sizes) {
  return at::empty(sizes, at::TensorOptions(at::kFloat).device(like.device()));
}

// Images of as many pixels, channels innermost.
inline Tensor images_like(const Tensor& x, int64_t channels) {
  return at::empty({x.size(0), channels, x.size(2), x.size(3)}, x.options(), at::MemoryFormat::ChannelsLast);
}
inline Tensor like(const Tensor& x) { return at::empty_like(x, x.options(), at::MemoryFormat::ChannelsLast); }

inline cuda::GroupNormShape shape_of(const GroupNormInput& in) {
  cuda::GroupNormShape s{};
  s.images = static_cast<int>(in.x.size(0));
  s.channels = static_cast<int>(in.x.size(1));
  s.pixels = static_cast<int>(in.x.size(2) * in.x.size(3));
  s.groups = static_cast<int>(in.groups);
  s.eps = static_cast<float>(in.eps);
  // Not more blocks than are there at the same time, four for each of the 132 multiprocessors of an H100: a few more would take as long as
  // twice as many.
  const int most = std::max(s.pixels / std::max(8, 8192 / s.channels), 1), wanted = std::clamp(528 / s.images, 1, most);
  s.chunk = (s.pixels + wanted - 1) / wanted;
  s.chunks = (s.pixels + s.chunk - 1) / s.chunk;
  return s;
}

// [N, C]; absent where undefined.
inline cuda::ImageVector image_vector(const Tensor& x) {
  return x.defined() ? cuda::ImageVector{x.const_data_ptr<float>(), static_cast<int>(x.stride(0))} : cuda::ImageVector{};
}

inline cuda::GroupNormParameters parameters_of(const GroupNormInput& in) {
  return {image_vector(in.gain), image_vector(in.shift), image_vector(in.x_bias), image_vector(in.residual_bias)};
}

inline cuda::RmsNormShape shape_of(const RmsNormInput& in) {
  return {static_cast<int>(in.x.size(0)), static_cast<int>(in.x.size(2) * in.x.size(3)), static_cast<int>(in.x.size(1))};
}

inline cuda::LinearAttentionShape shape_of(const LinearAttentionInput& in) {
  cuda::LinearAttentionShape s{};
  s.images = static_cast<int>(in.qkv.size(0));
  s.pixels = static_cast<int>(in.qkv.size(2) * in.qkv.size(3));
  s.heads = static_cast<int>(in.heads);
  s.memories = static_cast<int>(in.memory.size(4));
  s.memory_row = static_cast<int>(in.memory.stride(0));
  // A block for each multiprocessor: there is room for two, but not if they come as clusters.
  const int wanted = std::min(multiprocessors(in.qkv) / std::max(1, s.images * ((s.heads + 1) / 2)), s.pixels / 64);
  s.chunks = 1;
  while (2 * s.chunks <= std::min(wanted, cuda::most_attention_chunks)) s.chunks *= 2;
  s.chunk = ((s.pixels + s.chunks - 1) / s.chunks + 63) / 64 * 64;
  return s;
}

// A matrix; absent where undefined.
template <class T>
cuda::Rows<const T> rows(const Tensor& x) {
  return x.defined() ? cuda::Rows<const T>{static_cast<const T*>(x.const_data_ptr()), static_cast<int>(x.stride(0))}
                     : cuda::Rows<const T>{};
}
template <class T>
cuda::Rows<T> rows_of(const Tensor& x) {
  return {static_cast<T*>(x.mutable_data_ptr()), static_cast<int>(x.stride(0))};
}

// Images beyond 8 MiB are faster in two kernels: on an H100 6 MiB took as long either way, 9.4 MiB a fifth longer in one.
template <class T>
bool at_once(const GroupNormInput& in, const cuda::GroupNormShape& shape) {
  return in.at_once && in.x.nbytes() <= (size_t{8} << 20) && cuda::group_norm_fits<T>(shape);
}

inline cuda::CellBuffer cell_buffer(const Tensor& x) {
  return {static_cast<float*>(x.mutable_data_ptr()), static_cast<int>(x.size(1)), static_cast<int>(x.numel() / (x.size(0) * x.size(1)))};
}

inline cuda::TokenMix token_mix(const TokenMix& mix) {
  const auto cells = static_cast<int>(mix.tokens().size(0));
  return {floats(mix.x0),
          floats(mix.eps),
          floats(mix.of_x0),
          floats(mix.of_eps),
          static_cast<float>(mix.clip),
          cells,
          static_cast<int>(mix.tokens().numel() / std::max(cells, 1))};
}

// x [N, C, ...]: the last dimensions must lie as one, which images do in either layout.
template <class T>
cuda::CellImages<T> cell_images(const Tensor& x) {
  const Tensor images = x.dim() > 2 ? x.flatten(2) : x.unsqueeze(-1);
  return {static_cast<const T*>(images.const_data_ptr()), static_cast<int>(images.size(2)), static_cast<int>(images.stride(0)),
          static_cast<int>(images.stride(1)), static_cast<int>(images.stride(2))};
}

}  // namespace df::ops
