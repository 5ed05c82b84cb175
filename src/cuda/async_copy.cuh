// SPDX-License-Identifier: MIT
// Copies into shared memory that a block need not wait for, and matrices from there (cp.async and ldmatrix of the PTX manual).
#pragma once

#include <cuda_runtime.h>

namespace df::cuda {

__device__ inline unsigned shared_address(const void* pointer) { return static_cast<unsigned>(__cvta_generic_to_shared(pointer)); }

// 16 bytes; zeros where not `there`, and then nothing is read.
__device__ inline void copy_async(unsigned to, const void* from, bool there) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(there ? 16 : 0) : "memory");
}
// Ends a group of this thread's copies.
__device__ inline void end_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Until all but the last `pending` groups of this thread are there.
template <int pending>
__device__ inline void wait_for_groups() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

// Four 8 x 8 matrices of bfloat16. Lane 8 i + r has the address of row r of matrix i, 16 bytes; it gets columns 2t and 2t + 1 of row g of
// each (lane = 4 g + t), or, transposed, rows 2t and 2t + 1 of column g.
__device__ inline void load_matrices(unsigned (&x)[4], unsigned address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
               : "r"(address)
               : "memory");
}
__device__ inline void load_matrices_transposed(unsigned (&x)[4], unsigned address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
               : "r"(address)
               : "memory");
}

// Two of them, transposed: lane 8 i + r of the first sixteen has an address.
__device__ inline void load_matrices_transposed(unsigned (&x)[2], unsigned address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];" : "=r"(x[0]), "=r"(x[1]) : "r"(address) : "memory");
}

}  // namespace df::cuda
