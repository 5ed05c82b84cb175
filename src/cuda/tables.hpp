// SPDX-License-Identifier: MIT
// The kernels of this folder by subject, as ops/kernels.hpp wants them. They hold nothing, so that all devices share them.
#pragma once

#include "ops/kernels.hpp"

namespace df::ops {

const ImageKernels& cuda_images();
const AttentionKernels& cuda_attention();
const ConvolutionKernels& cuda_convolutions();
const PointwiseKernels& cuda_pointwise();
const TokenLayerKernels& cuda_token_layers();
const CellKernels& cuda_cells();
const ErrorKernels& cuda_errors();

}  // namespace df::ops
