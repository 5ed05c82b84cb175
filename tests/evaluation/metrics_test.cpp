// SPDX-License-Identifier: MIT
#include "diffusion_forcing/evaluation/metrics.hpp"

#include <ATen/ATen.h>

#include <cmath>

#include "diffusion_forcing/core/seed.hpp"
#include "support/support.hpp"

namespace df::test {

namespace {

std::map<std::string, Tensor> golden() { return read_safetensors(golden_dir() / "metrics" / "metrics.safetensors").tensors; }

struct Pairs {
  Tensor a, b;  // [4, 3, 64, 48]
};
Pairs golden_pairs() {
  const auto tensors = golden();
  std::vector<Tensor> a, b;
  for (int i = 0; i < 4; ++i) {
    a.push_back(tensors.at(std::to_string(i) + "/a"));
    b.push_back(tensors.at(std::to_string(i) + "/b"));
  }
  return {at::stack(a), at::stack(b)};
}

Tensor some_frames(uint64_t seed, int64_t count = 3) { return seeded_normal({count, 3, 24, 16}, seed).sigmoid(); }

}  // namespace

TEST(Metrics, ImagePairsAgreeWithScikitImage) {
  const auto [a, b] = golden_pairs();
  const auto expected = golden();
  EXPECT_TRUE(close(mse(a, b), expected.at("mse"), 1e-6));
  EXPECT_TRUE(close(psnr(a, b), expected.at("psnr"), 1e-6));
  EXPECT_TRUE(close(ssim(a, b), expected.at("ssim"), 1e-6));
}

TEST(Metrics, FrechetAgreesWithSciPy) {
  const auto tensors = golden();
  EXPECT_NEAR(frechet_distance(tensors.at("frechet/f1"), tensors.at("frechet/f2")), tensors.at("frechet/distance").item<double>(), 1e-6);
}

TEST(Metrics, CrpsAgreesWithGluonTs) {
  const auto tensors = golden();
  EXPECT_NEAR(crps_sum(tensors.at("crps/pred"), tensors.at("crps/truth")), tensors.at("crps/crps_sum").item<double>(), 1e-6);
}

TEST(Metrics, EqualFramesAreTheBest) {
  const auto frames = some_frames(1);
  EXPECT_TRUE(at::equal(mse(frames, frames), at::zeros({3}, at::kDouble)));
  EXPECT_TRUE(close(psnr(frames, frames), at::full({3}, 100.0, at::kDouble), 1e-9));
  EXPECT_TRUE(close(ssim(frames, frames), at::ones({3}, at::kDouble), 1e-9));
}

TEST(Metrics, KnownErrorsHaveKnownValues) {
  const auto a = at::full({2, 3, 16, 16}, 0.5F), b = at::full({2, 3, 16, 16}, 0.6F);
  EXPECT_TRUE(close(mse(a, b), at::full({2}, 0.01, at::kDouble), 1e-5));
  EXPECT_TRUE(close(psnr(a, b), at::full({2}, 20.0, at::kDouble), 1e-5)) << "range 1, not 2";
}

TEST(Metrics, EachFrameIsItsOwn) {
  const auto a = some_frames(1), b = some_frames(2);
  for (const auto& metric : {mse, psnr, ssim}) {
    const auto all = metric(a, b);
    EXPECT_TRUE(close(all.slice(0, 1, 2), metric(a.slice(0, 1, 2), b.slice(0, 1, 2)), 1e-12));
    EXPECT_TRUE(close(all, metric(b, a), 1e-12)) << "symmetric";
    EXPECT_TRUE(close(all, metric(a.transpose(2, 3), b.transpose(2, 3)), 1e-12)) << "rows and columns alike";
    EXPECT_FALSE(at::allclose(all, metric(a, b.flip(1)))) << "channels are told apart";
    EXPECT_FALSE(at::allclose(all, metric(a, b.flip(3)))) << "places are told apart";
  }
}

TEST(Metrics, RefuseWhatIsNotAFrame) {
  const auto frames = some_frames(1);
  const auto message = [&](const Tensor& other) { return error_of([&] { mse(frames, other); }); };
  EXPECT_NE(message(frames * 2.0 - 1.0).find("expected values in [0, 1], got -"), std::string::npos);
  EXPECT_NE(message((frames * 255).to(at::kByte)).find("expected floating point values in [0, 1], got Byte"), std::string::npos);
  EXPECT_NE(message(frames.slice(1, 0, 1)).find("expected shape [*, 3, *, *]"), std::string::npos);
  EXPECT_NE(message(frames.permute({0, 2, 3, 1})).find("expected shape"), std::string::npos);
  EXPECT_NE(message(frames.slice(0, 0, 2)).find("expected shape [3, 3, 24, 16], got [2, 3, 24, 16]"), std::string::npos);
  EXPECT_NE(message(at::full_like(frames, std::nan(""))).find("expected values in [0, 1]"), std::string::npos);
  const auto small = frames.slice(2, 0, 10);
  EXPECT_NE(error_of([&] { ssim(small, small); }).find("at least 11 x 11, got 10 x 16"), std::string::npos);
}

TEST(Frechet, OfGaussiansIsTheFormula) {
  // Diagonal covariances: |m1 - m2|^2 + sum (s1 - s2)^2.
  const auto rows = seeded_normal({4000, 3}, 5).to(at::kDouble);
  const auto unit = (rows - rows.mean(0)) / rows.std(0);
  EXPECT_NEAR(frechet_distance(unit, unit), 0.0, 1e-9);
  EXPECT_NEAR(frechet_distance(unit, unit + 2.0), 12.0, 1e-9);
  EXPECT_NEAR(frechet_distance(unit, 3.0 * unit), 12.0, 1e-9);
}

TEST(Frechet, MomentsMergeByAdding) {
  const auto a = seeded_normal({30, 4}, 1), b = seeded_normal({50, 4}, 2) + 1.0, c = seeded_normal({40, 4}, 3);
  Moments merged, part, reference, twice;
  merged.add(a);
  part.add(b);
  merged.add(part);
  reference.add(c);
  const FrechetDistance distance(reference);
  EXPECT_NEAR(distance(merged), frechet_distance(c, at::cat({a, b})), 1e-9);
  twice.add(part, 2.0);
  EXPECT_NEAR(distance(twice), frechet_distance(c, at::cat({b, b})), 1e-9);
  EXPECT_NE(error_of([] { FrechetDistance(Moments{}); }).find("at least 2 rows"), std::string::npos);
}

TEST(Frechet, StandsFeaturesThatAreConstant) {
  auto a = seeded_normal({20, 3}, 1).to(at::kDouble), b = a + 1.0;
  a.select(1, 2).fill_(0.5);
  b.select(1, 2).fill_(0.5);
  EXPECT_NEAR(frechet_distance(a, b), 2.0, 1e-6);
}

TEST(Crps, FavoursSharpForecastsOfTheTruth) {
  const auto truth = seeded_normal({20, 2, 3}, 1), noise = seeded_normal({100, 20, 2, 3}, 2);
  const double sharp = crps_sum(truth + 0.1 * noise, truth), wide = crps_sum(truth + noise, truth),
               wrong = crps_sum(truth + 0.1 * noise + 3.0, truth);
  EXPECT_LT(sharp, wide);
  EXPECT_LT(wide, wrong);
  EXPECT_EQ(crps_sum(truth.unsqueeze(0).expand({7, 20, 2, 3}), truth), 0.0);
}

}  // namespace df::test
