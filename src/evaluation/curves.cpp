// SPDX-License-Identifier: MIT
#include "diffusion_forcing/evaluation/curves.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/evaluation/features.hpp"

namespace df {

namespace {

int64_t groups_of(size_t sequences) { return std::min<int64_t>(static_cast<int64_t>(sequences), bootstrap_groups); }

constexpr int64_t longest_lag = *std::max_element(coherence_lags.begin(), coherence_lags.end());

}  // namespace

void TruthMetrics::add(int64_t sequence, const Tensor& frames, const Tensor& truth) {
  const std::array<Tensor, 3> values{mse(frames, truth).to(at::kCPU), psnr(frames, truth).to(at::kCPU), ssim(frames, truth).to(at::kCPU)};
  int64_t& index = next_[sequence];
  const auto group = static_cast<size_t>(bootstrap_group(sequence));
  sums_.resize(std::max(sums_.size(), static_cast<size_t>(index + frames.size(0))));
  for (int64_t i = 0; i < frames.size(0); ++i, ++index) {
    auto& sums = sums_[static_cast<size_t>(index)];
    for (size_t m = 0; m < values.size(); ++m) sums.value[m][group] += values[m].data_ptr<double>()[i];
    sums.count[group] += 1.0;
  }
}

std::vector<Curve> TruthMetrics::curves(int64_t window, int64_t replicates, uint64_t seed) const {
  if (window < 1) throw Error(fmt::format("window: expected at least 1 frame, got {}", window));
  const Resamples resamples(groups_of(next_.size()), replicates, seed);
  std::vector<Curve> curves{{"mse", {}}, {"psnr", {}}, {"ssim", {}}};
  for (int64_t first = 0; first < frames(); first += window) {
    const int64_t end = std::min(first + window, frames());
    for (size_t m = 0; m < curves.size(); ++m) {
      std::array<double, bootstrap_groups> value{}, count{};
      for (int64_t i = first; i < end; ++i)
        for (size_t g = 0; g < value.size(); ++g) {
          value[g] += sums_[static_cast<size_t>(i)].value[m][g];
          count[g] += sums_[static_cast<size_t>(i)].count[g];
        }
      const auto mean = [&](const Resamples::Counts& counts) {
        double total = 0.0, weight = 0.0;
        for (size_t g = 0; g < counts.size(); ++g) {
          total += counts[g] * value[g];
          weight += counts[g] * count[g];
        }
        return total / weight;
      };
      curves[m].points.push_back({first + 1, end, resamples.interval(mean)});
    }
  }
  return curves;
}

void WindowSums::add(const WindowSums& other, double weight) {
  if (weight == 0.0 || other.frames == 0.0) return;
  features.add(other.features, weight);
  histogram = histogram.defined() ? histogram + weight * other.histogram : weight * other.histogram;
  frames += weight * other.frames;
  sharpness += weight * other.sharpness;
  changes += weight * other.changes;
  change += weight * other.change;
  for (size_t i = 0; i < steps.size(); ++i) {
    steps[i] += weight * other.steps[i];
    step[i] += weight * other.step[i];
  }
}

void WindowMetrics::add(int64_t sequence, const Tensor& frames) {
  check_frames(frames, "frames");
  int64_t& length = length_[sequence];
  const auto group = static_cast<size_t>(bootstrap_group(sequence));
  for (int64_t begin = 0; begin < frames.size(0);) {
    const int64_t index = length / window_, end = std::min(frames.size(0), begin + (index + 1) * window_ - length);
    sums_.resize(std::max(sums_.size(), static_cast<size_t>(index + 1)));
    add_piece(sequence, frames.slice(0, begin, end), sums_[static_cast<size_t>(index)][group]);
    length += end - begin;
    begin = end;
  }
}

// A pair belongs to the window of its later frame.
void WindowMetrics::add_piece(int64_t sequence, const Tensor& frames, WindowSums& into) {
  auto& carry = carry_[sequence];
  const auto features = filter_bank_features(frames).to(at::kCPU, at::kDouble);
  WindowSums piece;
  piece.features.add(features);
  piece.histogram = colour_histogram(frames);
  piece.frames = static_cast<double>(frames.size(0));
  piece.sharpness = df::sharpness(frames).sum().item<double>();
  const auto all = carry.frame.defined() ? at::cat({carry.frame, frames}) : frames;
  piece.changes = static_cast<double>(all.size(0) - 1);
  piece.change = (all.slice(0, 1) - all.slice(0, 0, -1)).abs().to(at::kDouble).mean({1, 2, 3}).sum().item<double>();
  const auto track = carry.features.defined() ? at::cat({carry.features, features}) : features;
  const int64_t known = track.size(0) - features.size(0);
  for (size_t i = 0; i < coherence_lags.size(); ++i) {
    const int64_t lag = coherence_lags[i], start = std::max(known, lag);
    if (start >= track.size(0)) continue;
    piece.steps[i] = static_cast<double>(track.size(0) - start);
    piece.step[i] = (track.slice(0, start) - track.slice(0, start - lag, track.size(0) - lag)).norm(2, 1).sum().item<double>();
  }
  carry.frame = frames.slice(0, -1).clone();
  carry.features = track.slice(0, std::max<int64_t>(0, track.size(0) - longest_lag)).clone();
  into.add(piece);
}

void WindowMetrics::finish(int64_t sequence) { carry_.erase(sequence); }

int64_t WindowMetrics::groups() const { return groups_of(length_.size()); }

int64_t WindowMetrics::length() const {
  int64_t longest = 0;
  for (const auto& [sequence, length] : length_) longest = std::max(longest, length);
  return longest;
}

WindowSums WindowMetrics::sum(int64_t window, const Resamples::Counts& counts) const {
  WindowSums total;
  for (size_t g = 0; g < counts.size(); ++g) total.add(sums_.at(static_cast<size_t>(window))[g], counts[g]);
  return total;
}

WindowSums WindowMetrics::pooled() const {
  WindowSums total;
  for (const auto& window : sums_)
    for (const auto& group : window) total.add(group);
  return total;
}

std::vector<Curve> drift_curves(const WindowMetrics& measured, const WindowSums& reference, int64_t replicates, uint64_t seed) {
  const FrechetDistance frechet(reference.features);
  const auto ratio = [](double sum, double count, double reference_sum, double reference_count) {
    return sum / count / (reference_sum / reference_count);
  };
  std::vector<Curve> curves{{"frechet", {}}, {"histogram", {}}, {"sharpness", {}}, {"change", {}}};
  for (const auto lag : coherence_lags) curves.push_back({fmt::format("step_{}", lag), {}});
  const auto values = [&](const WindowSums& w) {  // in the order of the curves
    std::vector<double> v{frechet(w.features), histogram_distance(w.histogram, reference.histogram),
                          ratio(w.sharpness, w.frames, reference.sharpness, reference.frames),
                          ratio(w.change, w.changes, reference.change, reference.changes)};
    for (size_t i = 0; i < coherence_lags.size(); ++i) v.push_back(ratio(w.step[i], w.steps[i], reference.step[i], reference.steps[i]));
    return v;
  };
  const Resamples resamples(measured.groups(), replicates, seed);
  const Resamples::Counts once(static_cast<size_t>(measured.groups()), 1.0);
  for (int64_t window = 0; window < measured.windows(); ++window) {
    if (measured.sum(window, once).frames < 2.0) continue;
    // Where sequences differ in length, a resample may hold none that reaches this window.
    const auto intervals = resamples.intervals([&](const Resamples::Counts& counts) {
      const auto sums = measured.sum(window, counts);
      return sums.frames < 2.0 ? std::vector<double>(curves.size(), std::nan("")) : values(sums);
    });
    const int64_t first = window * measured.window() + 1, last = std::min((window + 1) * measured.window(), measured.length());
    for (size_t i = 0; i < curves.size(); ++i) curves[i].points.push_back({first, last, intervals[i]});
  }
  return curves;
}

}  // namespace df
