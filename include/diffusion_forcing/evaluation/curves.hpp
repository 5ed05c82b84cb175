// SPDX-License-Identifier: MIT
// Curves over the frames of a rollout, in streams: frames go in as they come, memory holds sums only.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "diffusion_forcing/core/tensor.hpp"
#include "diffusion_forcing/evaluation/bootstrap.hpp"
#include "diffusion_forcing/evaluation/metrics.hpp"

namespace df {

// One window of a curve.
struct CurvePoint {
  int64_t first = 0, last = 0;  // what the value is of, frames counted from 1
  Interval value;
};
// A number over the windows of a rollout.
struct Curve {
  std::string name;
  std::vector<CurvePoint> points;
};

// Against the true future: "mse", "psnr", "ssim" of each frame, averaged over sequences.
class TruthMetrics {
 public:
  // The next frames of a sequence and their truth, [N, 3, H, W] in [0, 1].
  void add(int64_t sequence, const Tensor& frames, const Tensor& truth);
  // Means over windows of `window` frames (1: each frame).
  std::vector<Curve> curves(int64_t window, int64_t replicates, uint64_t seed) const;
  int64_t frames() const { return static_cast<int64_t>(sums_.size()); }
  int64_t sequences() const { return static_cast<int64_t>(next_.size()); }

 private:
  struct Sums {
    std::array<std::array<double, bootstrap_groups>, 3> value{};
    std::array<double, bootstrap_groups> count{};
  };
  std::vector<Sums> sums_;           // of each frame index
  std::map<int64_t, int64_t> next_;  // frame index of each sequence
};

// Distances over which the feature step between frames is measured.
constexpr std::array<int64_t, 3> coherence_lags = {1, 4, 16};

// All that the drift and coherence curves need of a set of frames.
struct WindowSums {
  Moments features;
  Tensor histogram;  // [512]
  double frames = 0.0, sharpness = 0.0;
  double changes = 0.0, change = 0.0;     // pairs of successive frames, and the sum of their mean |difference|
  std::array<double, 3> steps{}, step{};  // pairs at each lag, and the sum of their feature distances
  void add(const WindowSums& other, double weight = 1.0);
};

// One source of frames (a model, or real clips), by windows of its frame index.
class WindowMetrics {
 public:
  explicit WindowMetrics(int64_t window = 50) : window_(window) {}
  // The next frames of a sequence, [N, 3, H, W] in [0, 1].
  void add(int64_t sequence, const Tensor& frames);
  void finish(int64_t sequence);  // no more of it: what pairs needed is forgotten
  int64_t window() const { return window_; }
  int64_t windows() const { return static_cast<int64_t>(sums_.size()); }
  int64_t sequences() const { return static_cast<int64_t>(length_.size()); }
  int64_t groups() const;
  int64_t length() const;  // frames of the longest sequence
  // Sum over groups, weighted.
  WindowSums sum(int64_t window, const Resamples::Counts& counts) const;
  WindowSums pooled() const;

 private:
  struct Carry {
    Tensor frame;     // last one, [1, 3, H, W]
    Tensor features;  // of the last 16 frames, [<= 16, D]
  };
  void add_piece(int64_t sequence, const Tensor& frames, WindowSums& into);
  int64_t window_;
  std::vector<std::array<WindowSums, bootstrap_groups>> sums_;
  std::map<int64_t, int64_t> length_;
  std::map<int64_t, Carry> carry_;
};

// Windows of `measured` against all frames of `reference`:
//   frechet           Frechet distance of filter-bank features
//   histogram         distance of colour histograms
//   sharpness         ratio of mean sharpness, 1: as sharp as the reference
//   change            ratio of mean |difference| between successive frames, 1: as lively as the reference
//   step_1, _4, _16   ratio of mean feature distance between frames t and t + lag
// Windows with fewer than 2 frames are left out.
std::vector<Curve> drift_curves(const WindowMetrics& measured, const WindowSums& reference, int64_t replicates, uint64_t seed);

}  // namespace df
