// SPDX-License-Identifier: MIT
#pragma once

#include <cuda_runtime.h>

namespace df::cuda {

__device__ inline unsigned shared_address(const void* pointer) { return static_cast<unsigned>(__cvta_generic_to_shared(pointer)); }
__device__ inline void store_shared(unsigned to, const uint4& value) {
  asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(value.x), "r"(value.y), "r"(value.z), "r"(value.w) : "memory");
}
// Four 8 x 8 matrices of bfloat16, transposed (ldmatrix of the PTX manual). Lane 8 i + r has the address of row r of matrix i, 16 bytes; it
// gets rows 2t and 2t + 1 of column g of each (lane = 4 g + t).
__device__ inline void load_matrices_transposed(unsigned (&x)[4], unsigned address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
               : "r"(address)
               : "memory");
}

}  // namespace df::cuda
