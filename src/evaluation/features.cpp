// SPDX-License-Identifier: MIT
#include "diffusion_forcing/evaluation/features.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>
#include <numbers>
#include <vector>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/evaluation/metrics.hpp"

namespace df {

namespace {

// Rec. 601 luma, [N, 3, H, W] -> [N, 1, H, W].
Tensor luma(const Tensor& frames) { return 0.299 * frames.slice(1, 0, 1) + 0.587 * frames.slice(1, 1, 2) + 0.114 * frames.slice(1, 2, 3); }

// Luma, red - green, blue - yellow.
Tensor opponent_colours(const Tensor& frames) {
  const auto red = frames.slice(1, 0, 1), green = frames.slice(1, 1, 2), blue = frames.slice(1, 2, 3);
  return at::cat({luma(frames), red - green, blue - 0.5 * (red + green)}, 1);
}

constexpr int64_t orientations = 4;
// Brings the spread of texture over natural frames to about that of colour.
constexpr double texture_gain = 8.0;

// [8, 1, 7, 7]: even filters, then odd ones. Without response to a constant; absolute values add up to 2, so that an ideal match gives
// about 1.
Tensor gabor_filters() {
  constexpr double wavelength = 3.0, sigma = 1.25;
  const auto axis = at::arange(-3, 4, at::kDouble);
  const auto y = axis.view({7, 1}), x = axis.view({1, 7});
  const auto envelope = (-(x.square() + y.square()) / (2.0 * sigma * sigma)).exp();
  std::vector<Tensor> filters;
  for (const double phase : {0.0, 0.5 * std::numbers::pi})
    for (int64_t i = 0; i < orientations; ++i) {
      const double angle = std::numbers::pi * static_cast<double>(i) / static_cast<double>(orientations);
      const auto wave = ((std::cos(angle) * x + std::sin(angle) * y) * (2.0 * std::numbers::pi / wavelength) - phase).cos();
      auto filter = envelope * wave;
      filter = filter - envelope * (filter.sum() / envelope.sum());
      filters.push_back(2.0 * filter / filter.abs().sum());
    }
  return at::stack(filters).unsqueeze(1).to(at::kFloat);
}

// Root of the mean energy at each orientation over a grid of 2 x 2: [N, 1, H, W] -> [N, 16]. Energy, not amplitude: the amplitude of an
// isolated edge hardly changes when it is blurred, it only spreads.
Tensor texture(const Tensor& brightness, const Tensor& filters) {
  const auto response = at::conv2d(at::replication_pad2d(brightness, {3, 3, 3, 3}), filters);
  const auto even = response.slice(1, 0, orientations), odd = response.slice(1, orientations);
  return texture_gain * at::adaptive_avg_pool2d(even.square() + odd.square(), {2, 2}).sqrt().flatten(1);
}

}  // namespace

Tensor filter_bank_features(const Tensor& frames) {
  check_frames(frames, "frames");
  if (frames.size(2) < 16 || frames.size(3) < 16)
    throw Error(fmt::format("features: expected frames of at least 16 x 16, got {} x {}", frames.size(2), frames.size(3)));
  const auto colours = opponent_colours(frames.to(at::kFloat));
  const auto filters = gabor_filters().to(frames.device());
  std::vector<Tensor> parts{at::adaptive_avg_pool2d(colours, {4, 4}).flatten(1)};
  auto brightness = colours.slice(1, 0, 1);
  for (int scale = 0; scale < 3; ++scale) {
    if (scale > 0) brightness = at::avg_pool2d(brightness, {2, 2});
    parts.push_back(texture(brightness, filters));
  }
  return at::cat(parts, 1);
}

Tensor sharpness(const Tensor& frames) {
  check_frames(frames, "frames");
  const auto y = luma(frames.to(at::kDouble)).squeeze(1);
  const auto rows = y.slice(1, 1, -1), columns = y.slice(2, 1, -1);
  const auto vertical = y.slice(1, 0, -2).slice(2, 1, -1) + y.slice(1, 2).slice(2, 1, -1);
  const auto horizontal = columns.size(1) > 2 ? rows.slice(2, 0, -2) + rows.slice(2, 2) : Tensor();
  if (!horizontal.defined()) throw Error("sharpness: expected frames of at least 3 x 3");
  return (vertical + horizontal - 4.0 * rows.slice(2, 1, -1)).flatten(1).var(1, false);
}

Tensor colour_histogram(const Tensor& frames) {
  check_frames(frames, "frames");
  const auto cell = (frames * 8.0).to(at::kLong).clamp_max(7);
  const auto index = (cell.select(1, 0) * 8 + cell.select(1, 1)) * 8 + cell.select(1, 2);
  return at::bincount(index.flatten().to(at::kCPU), {}, 512).to(at::kDouble);
}

double histogram_distance(const Tensor& a, const Tensor& b) { return (a / a.sum() - b / b.sum()).abs().sum().item<double>(); }

}  // namespace df
