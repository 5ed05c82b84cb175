// SPDX-License-Identifier: MIT
// Distances between frames, between sets of features, and between forecasts and outcomes. Pure functions, computed in float64.
// Frames are floating point [N, 3, H, W], RGB, in [0, 1]: all functions throw df::Error for anything else. docs/reference/metrics.md has
// the formulas.
#pragma once

#include <cstdint>
#include <string_view>

#include "diffusion_forcing/core/tensor.hpp"

namespace df {

// Throws df::Error naming `name` unless it is a floating point tensor [N, 3, H, W] with values in [0, 1].
void check_frames(const Tensor& frames, std::string_view name);

// Frame by frame, [N, 3, H, W] twice -> [N].
Tensor mse(const Tensor& a, const Tensor& b);
// 10 log10(1 / MSE), at most 100 (equal frames).
Tensor psnr(const Tensor& a, const Tensor& b);
// Wang et al. 2004: Gaussian window of 11 x 11, sigma 1.5, K1 0.01, K2 0.03, range 1, population covariance; mean over the channels
// and over the windows that lie wholly inside the frame. Needs H, W >= 11.
Tensor ssim(const Tensor& a, const Tensor& b);

// Sums that mean and covariance follow from; sets are merged by adding, with weights where a bootstrap asks for them.
struct Moments {
  double count = 0.0;
  Tensor sum;                    // [D]
  Tensor outer;                  // [D, D] sum of x x^T
  void add(const Tensor& rows);  // [N, D]
  void add(const Moments& other, double weight = 1.0);
  Tensor mean() const;        // [D]
  Tensor covariance() const;  // [D, D], divided by count - 1
};

// Frechet distance |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of the Gaussians fitted to two sets, the first fixed.
class FrechetDistance {
 public:
  explicit FrechetDistance(const Moments& reference);  // throws df::Error for fewer than 2 rows
  double operator()(const Moments& other) const;

 private:
  Tensor mean_, covariance_, root_;
};
double frechet_distance(const Tensor& a, const Tensor& b);  // rows [N, D], [M, D]

// CRPS of the sum over features, from 19 quantiles 0.05 .. 0.95, normalised by sum |y| (GluonTS's mean weighted quantile loss).
// The q-quantile is the floor(S q)-th smallest of the S samples, at least the first. samples [S, ..., F], truth [..., F].
double crps_sum(const Tensor& samples, const Tensor& truth);

}  // namespace df
