// SPDX-License-Identifier: MIT
// Copies into shared memory that a block need not wait for (cp.async of the PTX manual).
#pragma once

#include <cuda_runtime.h>

#include "cuda/shared_memory.cuh"

namespace df::cuda {

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

}  // namespace df::cuda
