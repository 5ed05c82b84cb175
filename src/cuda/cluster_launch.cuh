// SPDX-License-Identifier: MIT
// The launch of blocks that come in clusters.
#pragma once

#include <cuda_runtime.h>

namespace df::cuda {

struct ClusterLaunch {
  dim3 blocks;   // a multiple of `cluster` in each dimension
  dim3 cluster;  // blocks of one
  int threads;   // of a block
  size_t shared_bytes = 0;
};

// An error that launches report.
template <class... Parameters, class... Arguments>
cudaError_t launch_clusters(void (*kernel)(Parameters...), const ClusterLaunch& how, cudaStream_t stream, const Arguments&... arguments) {
  if (how.shared_bytes > 48 * 1024) {
    const cudaError_t raised =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(how.shared_bytes));
    if (raised != cudaSuccess) return raised;
  }
  if (how.cluster.x * how.cluster.y * how.cluster.z > 8) {
    const cudaError_t allowed = cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
    if (allowed != cudaSuccess) return allowed;
  }
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {how.cluster.x, how.cluster.y, how.cluster.z};
  cudaLaunchConfig_t config{};
  config.gridDim = how.blocks;
  config.blockDim = dim3(static_cast<unsigned>(how.threads));
  config.dynamicSmemBytes = how.shared_bytes;
  config.stream = stream;
  config.attrs = &cluster;
  config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, kernel, arguments...);
}

}  // namespace df::cuda
