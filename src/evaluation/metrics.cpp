// SPDX-License-Identifier: MIT
#include "diffusion_forcing/evaluation/metrics.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/shape.hpp"

namespace df {

namespace {

void check_pair(const Tensor& a, const Tensor& b) {
  check_frames(a, "first frames");
  check_frames(b, "second frames");
  check_shape(b, "second frames", a.sizes().vec());
}

// Rows slide an 11-tap Gaussian over `size` points: [size - 10, size].
Tensor gaussian_band(int64_t size, const Tensor& like) {
  constexpr double sigma = 1.5;
  const auto options = like.options();
  const auto offset = at::arange(size, options).unsqueeze(0) - at::arange(size - 10, options).unsqueeze(1) - 5.0;
  const auto weight = (-offset.square() / (2.0 * sigma * sigma)).exp() * (offset.abs() <= 5.0);
  return weight / weight.sum(1, true);
}

// Square root of a symmetric positive semi-definite matrix.
Tensor matrix_root(const Tensor& matrix) {
  const auto [values, vectors] = at::linalg_eigh(matrix);
  return (vectors * values.clamp_min(0.0).sqrt()).matmul(vectors.t());
}

}  // namespace

void check_frames(const Tensor& frames, std::string_view name) {
  check_shape(frames, name, {-1, 3, -1, -1});
  if (!frames.is_floating_point())
    throw Error(fmt::format("{}: expected floating point values in [0, 1], got {}", name, c10::toString(frames.scalar_type())));
  if (frames.numel() == 0) return;
  const double low = frames.min().item<double>(), high = frames.max().item<double>();
  if (!(low >= 0.0 && high <= 1.0)) throw Error(fmt::format("{}: expected values in [0, 1], got {:.4g} to {:.4g}", name, low, high));
}

Tensor mse(const Tensor& a, const Tensor& b) {
  check_pair(a, b);
  return (a.to(at::kDouble) - b.to(at::kDouble)).square().mean({1, 2, 3});
}

Tensor psnr(const Tensor& a, const Tensor& b) { return -10.0 * mse(a, b).clamp_min(1e-10).log10(); }

Tensor ssim(const Tensor& a, const Tensor& b) {
  check_pair(a, b);
  const int64_t height = a.size(2), width = a.size(3);
  if (height < 11 || width < 11) throw Error(fmt::format("ssim: expected frames of at least 11 x 11, got {} x {}", height, width));
  constexpr double c1 = 0.01 * 0.01, c2 = 0.03 * 0.03;
  const auto x = a.to(at::kDouble), y = b.to(at::kDouble);
  const auto rows = gaussian_band(height, x), columns = gaussian_band(width, x).t();
  const auto local_mean = [&](const Tensor& image) { return rows.matmul(image).matmul(columns); };  // [N, 3, H - 10, W - 10]
  const auto mx = local_mean(x), my = local_mean(y);
  const auto vx = local_mean(x * x) - mx * mx, vy = local_mean(y * y) - my * my, vxy = local_mean(x * y) - mx * my;
  const auto map = (2.0 * mx * my + c1) * (2.0 * vxy + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2));
  return map.mean({1, 2, 3});
}

void Moments::add(const Tensor& rows) {
  check_shape(rows, "features", {-1, sum.defined() ? sum.size(0) : -1});
  const auto x = rows.detach().to(at::kCPU, at::kDouble);
  add(Moments{static_cast<double>(x.size(0)), x.sum(0), x.t().matmul(x)});
}

void Moments::add(const Moments& other, double weight) {
  if (!other.sum.defined() || weight == 0.0) return;
  count += weight * other.count;
  sum = sum.defined() ? sum + weight * other.sum : weight * other.sum;
  outer = outer.defined() ? outer + weight * other.outer : weight * other.outer;
}

Tensor Moments::mean() const { return sum / count; }

Tensor Moments::covariance() const { return (outer - count * at::outer(mean(), mean())) / (count - 1.0); }

FrechetDistance::FrechetDistance(const Moments& reference) {
  if (reference.count < 2.0) throw Error(fmt::format("Frechet distance: expected at least 2 rows of features, got {}", reference.count));
  mean_ = reference.mean();
  covariance_ = reference.covariance();
  root_ = matrix_root(covariance_);
}

double FrechetDistance::operator()(const Moments& other) const {
  if (other.count < 2.0) throw Error(fmt::format("Frechet distance: expected at least 2 rows of features, got {}", other.count));
  const auto covariance = other.covariance();
  // C1 C2 and C1^(1/2) C2 C1^(1/2) have the same eigenvalues, and the second is symmetric.
  const auto values = at::linalg_eigvalsh(root_.matmul(covariance).matmul(root_));
  const double mixed = values.clamp_min(0.0).sqrt().sum().item<double>();
  const double traces = (covariance_ + covariance).trace().item<double>();
  return std::max(0.0, (mean_ - other.mean()).square().sum().item<double>() + traces - 2.0 * mixed);
}

double frechet_distance(const Tensor& a, const Tensor& b) {
  Moments first, second;
  first.add(a);
  second.add(b);
  return FrechetDistance(first)(second);
}

double crps_sum(const Tensor& samples, const Tensor& truth) {
  check_shape(truth, "truth", samples.sizes().slice(1).vec());
  const int64_t count = samples.size(0);
  const auto sorted = std::get<0>(samples.to(at::kDouble).sum(-1).sort(0));  // [S, ...]
  const auto y = truth.to(at::kDouble).sum(-1);
  double total = 0.0;
  for (int64_t i = 1; i < 20; ++i) {
    const double q = static_cast<double>(i) / 20.0;
    const auto predicted = sorted[std::max<int64_t>(count * i / 20, 1) - 1];
    total += 2.0 * ((y - predicted) * ((y <= predicted).to(at::kDouble) - q)).abs().sum().item<double>();
  }
  return total / (19.0 * y.abs().sum().item<double>());
}

}  // namespace df
