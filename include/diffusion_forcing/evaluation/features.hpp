// SPDX-License-Identifier: MIT
// What frames look like without their truth, as numbers: a fixed filter bank, sharpness, colours. Nothing here is learned or downloaded, so
// distances of these features are their own scale: they are neither FID nor FVD and must not be compared with them.
#pragma once

#include <cstdint>

#include "diffusion_forcing/core/tensor.hpp"

namespace df {

// Filter-bank features, [N, 3, H, W] in [0, 1] -> float32 [N, 96]. H, W >= 16.
//   48  layout of colour: luma, red minus green, and blue minus yellow, averaged over a grid of 4 x 4
//   48  texture: 8 times the root of the mean energy of Gabor filters on luma, over a grid of 2 x 2 (7 x 7 filters of wavelength 3
//       pixels in 4 orientations, even and odd phase combined, at three scales, each half of the one before)
Tensor filter_bank_features(const Tensor& frames);
constexpr int64_t filter_bank_size = 96;  // features of a frame

// Variance of the Laplacian (4 neighbours) of luma, [N, 3, H, W] -> float64 [N].
Tensor sharpness(const Tensor& frames);

// Pixels in each of 8 x 8 x 8 colour cells, red slowest: [N, 3, H, W] -> float64 [512], over all frames.
Tensor colour_histogram(const Tensor& frames);
// Sum of |p - q| of the normalised histograms: 0 equal, 2 without a common colour.
double histogram_distance(const Tensor& a, const Tensor& b);

}  // namespace df
