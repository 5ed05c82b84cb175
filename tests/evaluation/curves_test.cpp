// SPDX-License-Identifier: MIT
#include "diffusion_forcing/evaluation/curves.hpp"

#include <ATen/ATen.h>

#include <cmath>

#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/evaluation/features.hpp"
#include "support/support.hpp"

namespace df::test {

namespace {

// A slowly changing clip, [T, 3, 16, 16].
Tensor clip(uint64_t seed, int64_t frames, double speed = 0.05) {
  const auto walk = seeded_normal({3, 16, 16}, seed).unsqueeze(0) + speed * seeded_normal({frames, 3, 16, 16}, seed + 1000).cumsum(0);
  return walk.sigmoid();
}

WindowMetrics measure(const std::vector<Tensor>& clips, int64_t window, int64_t chunk) {
  WindowMetrics metrics(window);
  for (size_t s = 0; s < clips.size(); ++s) {
    for (const auto& part : clips[s].split(chunk)) metrics.add(static_cast<int64_t>(s), part);
    metrics.finish(static_cast<int64_t>(s));
  }
  return metrics;
}

const Curve& named(const std::vector<Curve>& curves, const std::string& name) {
  for (const auto& curve : curves)
    if (curve.name == name) return curve;
  throw std::out_of_range(name);
}

}  // namespace

TEST(Bootstrap, CoversTheMeanOfKnownNumbers) {
  std::vector<double> values;
  for (int g = 0; g < 16; ++g) values.push_back(static_cast<double>(g));
  const Resamples resamples(16, 2000, 1);
  const auto mean = [&](const Resamples::Counts& counts) {
    double total = 0.0;
    for (size_t g = 0; g < 16; ++g) total += counts[g] * values[g];
    return total / 16.0;
  };
  const auto interval = resamples.interval(mean);
  const double error = std::sqrt((16.0 * 16.0 - 1.0) / 12.0 / 16.0);  // of the mean of 16 draws
  EXPECT_DOUBLE_EQ(interval.value, 7.5);
  EXPECT_NEAR(interval.low, 7.5 - 1.96 * error, 0.15);
  EXPECT_NEAR(interval.high, 7.5 + 1.96 * error, 0.15);
  const auto again = Resamples(16, 2000, 1).interval(mean), other = Resamples(16, 2000, 2).interval(mean);
  EXPECT_EQ(interval.low, again.low);
  EXPECT_NE(interval.low, other.low);
}

TEST(Bootstrap, OneGroupHasNoInterval) {
  const auto interval = Resamples(1, 100, 1).interval([](const Resamples::Counts&) { return 3.0; });
  EXPECT_EQ(interval.value, 3.0);
  EXPECT_TRUE(std::isnan(interval.low) && std::isnan(interval.high));
}

TEST(TruthMetrics, AveragesEachFrameOverSequences) {
  TruthMetrics metrics;
  std::vector<Tensor> errors;
  for (int64_t s = 0; s < 3; ++s) {
    const auto truth = clip(static_cast<uint64_t>(s), 10), frames = clip(static_cast<uint64_t>(s) + 50, 10);
    errors.push_back(mse(frames, truth));
    metrics.add(s, frames.slice(0, 0, 4), truth.slice(0, 0, 4));
    metrics.add(s, frames.slice(0, 4), truth.slice(0, 4));
  }
  EXPECT_EQ(metrics.frames(), 10);
  EXPECT_EQ(metrics.sequences(), 3);
  const auto mean = at::stack(errors).mean(0);
  const auto curve = named(metrics.curves(1, 200, 1), "mse");
  ASSERT_EQ(curve.points.size(), 10U);
  for (int64_t i = 0; i < 10; ++i) {
    const auto& point = curve.points[static_cast<size_t>(i)];
    EXPECT_EQ(point.first, i + 1);
    EXPECT_NEAR(point.value.value, mean[i].item<double>(), 1e-12);
    EXPECT_LE(point.value.low, point.value.value);
    EXPECT_LT(point.value.low, point.value.high);
  }
  const auto windows = named(metrics.curves(4, 200, 1), "mse");
  ASSERT_EQ(windows.points.size(), 3U);
  EXPECT_EQ(windows.points[2].last, 10);
  EXPECT_NEAR(windows.points[1].value.value, mean.slice(0, 4, 8).mean().item<double>(), 1e-12);
}

TEST(WindowMetrics, DoNotDependOnHowFramesArrive) {
  const std::vector<Tensor> clips{clip(1, 70), clip(2, 70), clip(3, 70)};
  const auto whole = measure(clips, 20, 70), pieces = measure(clips, 20, 7);
  EXPECT_EQ(whole.windows(), 4);
  EXPECT_EQ(whole.length(), 70);
  const auto reference = measure({clip(8, 90), clip(9, 90)}, 20, 90).pooled();
  const auto a = drift_curves(whole, reference, 20, 1), b = drift_curves(pieces, reference, 20, 1);
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(a[i].points.size(), 4U) << a[i].name;
    for (size_t p = 0; p < 4; ++p) {
      EXPECT_NEAR(a[i].points[p].value.value, b[i].points[p].value.value, 1e-5 * std::abs(a[i].points[p].value.value)) << a[i].name;
      EXPECT_NEAR(a[i].points[p].value.low, b[i].points[p].value.low, 1e-4 * std::abs(a[i].points[p].value.value)) << a[i].name;
    }
  }
}

TEST(WindowMetrics, SequencesMayComeInterleaved) {
  const auto one = clip(1, 40), two = clip(2, 40);
  WindowMetrics mixed(20);
  for (int64_t t = 0; t < 40; t += 10)
    for (const int64_t s : {0, 1}) mixed.add(s, (s == 0 ? one : two).slice(0, t, t + 10));
  const auto apart = measure({one, two}, 20, 40).pooled(), together = mixed.pooled();
  EXPECT_EQ(apart.changes, together.changes);
  EXPECT_NEAR(apart.change, together.change, 1e-6 * apart.change);
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(apart.step[i], together.step[i], 1e-5 * apart.step[i]);
}

TEST(WindowMetrics, SumsAreThoseOfTheDefinition) {
  const auto frames = clip(4, 30);
  const auto sums = measure({frames}, 10, 30).sum(1, {1.0});  // frames 10..19
  const auto f = filter_bank_features(frames).to(at::kDouble);
  EXPECT_EQ(sums.frames, 10.0);
  EXPECT_NEAR(sums.sharpness, sharpness(frames).slice(0, 10, 20).sum().item<double>(), 1e-9);
  EXPECT_EQ(sums.changes, 10.0);
  EXPECT_NEAR(sums.change, (frames.slice(0, 10, 20) - frames.slice(0, 9, 19)).abs().mean({1, 2, 3}).sum().item<double>(), 1e-5);
  EXPECT_EQ(sums.steps, (std::array<double, 3>{10.0, 10.0, 4.0})) << "frames 10..15 have none 16 before";
  EXPECT_NEAR(sums.step[1], (f.slice(0, 10, 20) - f.slice(0, 6, 16)).norm(2, 1).sum().item<double>(), 1e-6);
  EXPECT_NEAR(sums.step[2], (f.slice(0, 16, 20) - f.slice(0, 0, 4)).norm(2, 1).sum().item<double>(), 1e-6);
}

TEST(DriftCurves, ShowBlurFreezeAndFlicker) {
  std::vector<Tensor> real, other, blurred, frozen, flicker;
  for (uint64_t s = 0; s < 6; ++s) {
    real.push_back(clip(s, 60));
    other.push_back(clip(s + 20, 60));
    const auto late = at::avg_pool2d(other.back().slice(0, 30), {3, 3}, {1, 1}, {1, 1});
    blurred.push_back(at::cat({other.back().slice(0, 0, 30), late}));
    frozen.push_back(at::cat({other.back().slice(0, 0, 30), other.back().slice(0, 29, 30).expand({30, 3, 16, 16})}));
    flicker.push_back((other.back() + 0.2 * seeded_normal({60, 3, 16, 16}, s + 500)).clamp(0.0, 1.0));
  }
  const auto reference = measure(real, 30, 60).pooled();
  const auto value = [&](const std::vector<Tensor>& clips, const char* name, size_t window) {
    return named(drift_curves(measure(clips, 30, 60), reference, 10, 1), name).points.at(window).value.value;
  };
  EXPECT_NEAR(value(other, "sharpness", 0), 1.0, 0.2);
  EXPECT_NEAR(value(other, "change", 1), 1.0, 0.2);
  EXPECT_NEAR(value(real, "frechet", 0), 0.0, value(other, "frechet", 0)) << "nearer to itself than to others";
  EXPECT_LT(value(blurred, "sharpness", 1), 0.3 * value(blurred, "sharpness", 0));
  EXPECT_GT(value(blurred, "frechet", 1), 1.2 * value(other, "frechet", 1));
  EXPECT_NEAR(value(frozen, "change", 1), 0.0, 1e-3);
  EXPECT_NEAR(value(frozen, "step_4", 1), 0.0, 0.2);
  EXPECT_GT(value(flicker, "change", 0), 2.0);
  EXPECT_GT(value(flicker, "step_1", 1), 1.5);
}

TEST(DriftCurves, DarkeningMovesTheHistogram) {
  const auto real = clip(1, 40), dark = 0.2 * clip(2, 40);
  const auto reference = measure({real}, 20, 40).pooled();
  const auto curve = named(drift_curves(measure({dark}, 20, 40), reference, 10, 1), "histogram");
  EXPECT_GT(curve.points[0].value.value, 1.5);
}

}  // namespace df::test
