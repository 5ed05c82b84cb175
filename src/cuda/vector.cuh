// SPDX-License-Identifier: MIT
// Sixteen bytes at a time, computed in float32.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

namespace df::cuda {

template <class T>
struct Vector {
  static constexpr int size = 16 / sizeof(T);
  float value[size];
};

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
template <class T>
__device__ inline T from_float(float x);
template <>
__device__ inline float from_float<float>(float x) {
  return x;
}
template <>
__device__ inline __nv_bfloat16 from_float<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}

template <class T>
__device__ inline uint4 load_packed(const T* from) {
  return *reinterpret_cast<const uint4*>(from);
}
template <class T>
__device__ inline void store_packed(T* to, const uint4& raw) {
  __stwb(reinterpret_cast<uint4*>(to), raw);  // an assignment may become four stores
}
template <class T>
__device__ inline Vector<T> unpack(const uint4& raw) {
  const T* values = reinterpret_cast<const T*>(&raw);
  Vector<T> v;
#pragma unroll
  for (int i = 0; i < Vector<T>::size; ++i) v.value[i] = to_float(values[i]);
  return v;
}
template <class T>
__device__ inline Vector<T> load(const T* from) {
  return unpack<T>(load_packed(from));
}

template <class T>
__device__ inline uint4 packed(const Vector<T>& v) {
  uint4 raw;
  T* values = reinterpret_cast<T*>(&raw);
#pragma unroll
  for (int i = 0; i < Vector<T>::size; ++i) values[i] = from_float<T>(v.value[i]);
  return raw;
}
template <class T>
__device__ inline void store(T* to, const Vector<T>& v) {
  store_packed(to, packed(v));
}

}  // namespace df::cuda
