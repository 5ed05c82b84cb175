// SPDX-License-Identifier: MIT
// Launches that need more than <<<>>> says: much shared memory, blocks in clusters.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>

namespace df::cuda {

struct Launch {
  dim3 blocks;   // a multiple of `cluster` in each dimension
  dim3 threads;  // of a block
  size_t shared_bytes = 0;
  dim3 cluster = dim3(1);  // blocks of one
};

// An error that launches report.
template <class... Parameters, class... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), const Launch& how, cudaStream_t stream, const Arguments&... arguments) {
  if (how.shared_bytes > 48 * 1024) {
    const cudaError_t raised =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(how.shared_bytes));
    if (raised != cudaSuccess) return raised;
  }
  const unsigned together = how.cluster.x * how.cluster.y * how.cluster.z;
  if (together > 8) {
    const cudaError_t allowed = cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
    if (allowed != cudaSuccess) return allowed;
  }
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {how.cluster.x, how.cluster.y, how.cluster.z};
  cudaLaunchConfig_t config{};
  config.gridDim = how.blocks;
  config.blockDim = how.threads;
  config.dynamicSmemBytes = how.shared_bytes;
  config.stream = stream;
  config.attrs = &cluster;
  config.numAttrs = together > 1 ? 1 : 0;
  return cudaLaunchKernelEx(&config, kernel, arguments...);
}

}  // namespace df::cuda
