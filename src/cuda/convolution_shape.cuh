// SPDX-License-Identifier: MIT
#pragma once

namespace df::cuda {

// Images [images, height, width, .] of `in` channels and of `out` channels, weights of side x side pixels.
struct ConvolutionShape {
  int images, height, width, in, out, side;
};

}  // namespace df::cuda
