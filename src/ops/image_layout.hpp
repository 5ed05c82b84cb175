// SPDX-License-Identifier: MIT
// How images lie in memory, so that backbones need not know it. A device with kernels for images wants channels innermost ("channels
// last"), channels in vectors of eight, and the biases of convolutions left to the operator that follows. The CPU wants none of this.
#pragma once

#include <vector>

#include "diffusion_forcing/core/tensor.hpp"

namespace df::ops {

// Whether the device brings kernels for images.
bool fused(at::Device device);

// x [N, C, H, W] with channels innermost in memory: x itself where they are; undefined stays so.
Tensor channels_last(const Tensor& x);
// The same where x lies on a device with kernels; elsewhere x itself.
Tensor arranged(const Tensor& x);
// The weight of a convolution [out, in, ...], laid out anew as arranged images are.
Tensor arranged_weight(const Tensor& weight);

// How many channels complete the last vector of eight on a device with kernels; 0 elsewhere.
int64_t missing_channels(int64_t channels, at::Device device);
// On a device with kernels: x [N, C, H, W] in the type that convolutions compute in, with zeros for missing channels. Elsewhere x itself.
Tensor whole_vectors(const Tensor& x);

// T images [B, C, H, W] as one tensor [B, T, C, H, W], with channels innermost where the images have them so.
Tensor stacked(std::vector<Tensor> images);

// Vectors [N, C] of images as kernels take them: float32, rows any distance apart; undefined stays so.
Tensor float_rows(const Tensor& vectors);

// Channels of every pixel as a row, [N, C, H, W] -> [N H W, C]: a view where channels are innermost; and back to the sizes of `like`.
Tensor rows_of_pixels(const Tensor& images);
Tensor images_of(const Tensor& rows, const Tensor& like);

}  // namespace df::ops
