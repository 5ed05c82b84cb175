// SPDX-License-Identifier: MIT
#include "diffusion_forcing/evaluation/features.hpp"

#include <ATen/ATen.h>

#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/evaluation/metrics.hpp"
#include "support/support.hpp"

namespace df::test {

namespace {

Tensor some_frames(uint64_t seed = 1) { return seeded_normal({4, 3, 32, 32}, seed).sigmoid(); }

// Stripes along x (period 4), [1, 3, 32, 32].
Tensor stripes(double amplitude) {
  const auto x = at::arange(32, at::kFloat).view({1, 1, 1, 32}).expand({1, 3, 32, 32});
  return (0.5 + amplitude * (x * (3.14159265 / 2.0)).cos()).contiguous();
}

Tensor texture(const Tensor& frames) {
  return filter_bank_features(frames).slice(1, 48).view({-1, 3, 4, 4});
}  // [N, scale, orientation, cell]

}  // namespace

TEST(Features, AreFixedAndOfTheirSize) {
  const auto f = filter_bank_features(some_frames());
  EXPECT_EQ(f.sizes(), (Shape{4, filter_bank_size}));
  EXPECT_TRUE(close(f.slice(0, 2, 3), filter_bank_features(some_frames().slice(0, 2, 3)), 1e-6)) << "frames do not see each other";
  EXPECT_EQ(filter_bank_features(at::full({1, 3, 16, 40}, 0.5F)).size(1), filter_bank_size) << "any size";
}

TEST(Features, TellOrientationChannelsAndPlaceApart) {
  const auto f = filter_bank_features(some_frames());
  EXPECT_GT((filter_bank_features(some_frames().transpose(2, 3)) - f).norm().item<double>(), 0.05);
  EXPECT_GT((filter_bank_features(some_frames().flip(1)) - f).norm().item<double>(), 0.05);
  EXPECT_GT((filter_bank_features(some_frames().flip(3)) - f).norm().item<double>(), 0.05);
}

TEST(Features, ColourLayoutIsInTheFirstPart) {
  auto frame = at::zeros({1, 3, 32, 32});
  frame.select(1, 0).slice(1, 0, 16).slice(2, 0, 16).fill_(1.0F);  // the left half of the top, red
  const auto f = filter_bank_features(frame).slice(1, 0, 48).view({3, 4, 4});
  EXPECT_NEAR(f[0][0][0].item<double>(), 0.299, 1e-6);
  EXPECT_NEAR(f[1][1][1].item<double>(), 1.0, 1e-6);
  EXPECT_NEAR(f[2][0][1].item<double>(), -0.5, 1e-6);
  EXPECT_NEAR(f[1][0][2].item<double>(), 0.0, 1e-6);
  EXPECT_NEAR(f[1][2][0].item<double>(), 0.0, 1e-6);
}

TEST(Features, TextureAnswersToItsOrientationAndAmplitude) {
  EXPECT_NEAR(texture(at::full({1, 3, 32, 32}, 0.7F)).abs().max().item<double>(), 0.0, 1e-5) << "nothing in a flat frame";
  const auto across = texture(stripes(0.4)).mean(3)[0];  // [scale, orientation]
  EXPECT_EQ(across[0].argmax().item<int64_t>(), 0) << "waves along x";
  EXPECT_GT(across[0][0].item<double>(), 5.0 * across[0][2].item<double>());
  EXPECT_EQ(texture(stripes(0.4).transpose(2, 3)).mean(3)[0][0].argmax().item<int64_t>(), 2) << "waves along y";
  EXPECT_TRUE(close(texture(stripes(0.2)), 0.5 * texture(stripes(0.4)), 1e-4));
  EXPECT_GT(across[0][0].item<double>(), across[2][0].item<double>()) << "fine stripes are in the finest scale";
}

TEST(Sharpness, IsTheVarianceOfTheLaplacian) {
  const auto checker = ((at::arange(8).view({8, 1}) + at::arange(8)) % 2).to(at::kFloat).expand({1, 3, 8, 8});
  EXPECT_NEAR(sharpness(checker).item<double>(), 16.0, 1e-9) << "the Laplacian of a chessboard is +-4";
  EXPECT_NEAR(sharpness(at::arange(8).to(at::kFloat).div(8).expand({1, 3, 8, 8})).item<double>(), 0.0, 1e-12) << "a ramp has none";
  const auto frames = some_frames();
  const auto blurred = at::avg_pool2d(frames, {3, 3}, {1, 1}, {1, 1});
  EXPECT_TRUE((sharpness(blurred) < 0.2 * sharpness(frames)).all().item<bool>());
  EXPECT_FALSE(at::allclose(sharpness(frames), sharpness(frames.flip(1)))) << "luma weighs the channels";
  EXPECT_NE(error_of([] { sharpness(at::zeros({1, 3, 2, 2})); }).find("at least 3 x 3"), std::string::npos);
}

TEST(ColourHistogram, CountsPixelsByRedGreenBlue) {
  auto frame = at::zeros({2, 3, 4, 4});
  frame.select(1, 0).fill_(1.0F);    // red cell 7
  frame.select(1, 2).fill_(0.126F);  // blue cell 1
  const auto h = colour_histogram(frame);
  EXPECT_EQ(h.sizes(), (Shape{512}));
  EXPECT_EQ(h[7 * 64 + 1].item<double>(), 32.0);
  EXPECT_EQ(h.sum().item<double>(), 32.0);
}

TEST(ColourHistogram, DistanceRunsFromZeroToTwo) {
  const auto a = colour_histogram(some_frames(1)), dark = colour_histogram(at::zeros({1, 3, 32, 32}));
  EXPECT_NEAR(histogram_distance(a, 3.0 * a), 0.0, 1e-12) << "only shares count";
  EXPECT_NEAR(histogram_distance(colour_histogram(at::ones({1, 3, 8, 8})), dark), 2.0, 1e-12);
  EXPECT_GT(histogram_distance(a, colour_histogram(some_frames(1).square())), 0.2);
}

TEST(Features, RefuseWhatIsNotAFrame) {
  EXPECT_NE(error_of([] { filter_bank_features(at::zeros({1, 3, 8, 32})); }).find("at least 16 x 16, got 8 x 32"), std::string::npos);
  EXPECT_NE(error_of([] { filter_bank_features(at::full({1, 3, 16, 16}, 255.0F)); }).find("[0, 1]"), std::string::npos);
  EXPECT_NE(error_of([] { colour_histogram(at::zeros({1, 1, 16, 16})); }).find("[*, 3, *, *]"), std::string::npos);
  EXPECT_NE(error_of([] { sharpness(at::zeros({1, 3, 16, 16}, at::kByte)); }).find("floating point"), std::string::npos);
}

}  // namespace df::test
