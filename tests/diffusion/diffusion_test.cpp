// SPDX-License-Identifier: MIT
#include "diffusion_forcing/diffusion/diffusion.hpp"

#include <ATen/ATen.h>

#include <cmath>

#include "diffusion_forcing/core/seed.hpp"
#include "support/support.hpp"

namespace df::test {

constexpr Space spaces[] = {Space::eps, Space::x0, Space::v};

TEST(Diffusion, DecodeInvertsEncode) {
  for (const auto kind : {ScheduleKind::linear, ScheduleKind::cosine, ScheduleKind::sigmoid})
    for (const auto space : spaces) {
      SCOPED_TRACE(std::string(enum_name(kind)) + " " + std::string(enum_name(space)));
      const auto schedule = make_noise_schedule(kind, 1000);
      const auto k = at::tensor({1, 20, 300, 500, 700, 800}, at::kLong).view({2, 3});
      const auto x0 = seeded_normal({2, 3, 4, 2}, 1), eps = seeded_normal({2, 3, 4, 2}, 2);
      const auto x = add_noise(schedule, x0, k, eps);
      const auto back = decode(space, schedule, x, k, encode(space, schedule, x0, k, eps), 20.0);
      EXPECT_TRUE(close(back.x0, x0, 1e-4));
      EXPECT_TRUE(close(back.eps, eps, 1e-4));
    }
}

TEST(Diffusion, LevelZeroDecodesToTheTokenWithoutNoise) {
  const auto schedule = make_noise_schedule(ScheduleKind::linear, 10);
  const auto x = seeded_normal({3, 4}, 1), output = seeded_normal({3, 4}, 2), k = at::zeros({3}, at::kLong);
  for (const auto space : spaces) {
    SCOPED_TRACE(enum_name(space));
    const auto denoised = decode(space, schedule, x, k, output, 20.0);
    EXPECT_TRUE(identical(denoised.x0, space == Space::x0 ? output : x));
    EXPECT_TRUE(at::equal(denoised.eps, at::zeros_like(x)));
  }
}

TEST(Diffusion, ClampsNoisePredictionsOnly) {
  const auto schedule = make_noise_schedule(ScheduleKind::linear, 1000);
  const auto x = at::zeros({1, 2}), k = at::full({1}, 1000, at::kLong), output = at::tensor({100.0F, -100.0F}).view({1, 2});
  EXPECT_TRUE(identical(decode(Space::eps, schedule, x, k, output, 6.0).eps, at::tensor({6.0F, -6.0F}).view({1, 2})));
  EXPECT_TRUE(identical(decode(Space::x0, schedule, x, k, output, 6.0).x0, output));
}

TEST(Diffusion, SquaredErrorsConvertBetweenSpacesByTheRatio) {
  const auto schedule = make_noise_schedule(ScheduleKind::sigmoid, 1000);
  const auto k = at::tensor({5, 100, 400, 600}, at::kLong);
  const auto x0 = seeded_normal({4, 6}, 1), eps = seeded_normal({4, 6}, 2), x = add_noise(schedule, x0, k, eps);
  const auto error = [&](Space space, const Denoised& guess) {
    return (encode(space, schedule, guess.x0, k, guess.eps) - encode(space, schedule, x0, k, eps)).square();
  };
  const auto snr = at_level(schedule.snr, k, k);
  for (const auto from : spaces)
    for (const auto to : spaces) {
      SCOPED_TRACE(std::string(enum_name(from)) + " to " + std::string(enum_name(to)));
      const auto guess = decode(from, schedule, x, k, encode(from, schedule, x0, k, eps) + 0.5 * seeded_normal({4, 6}, 3), 20.0);
      const auto expected = error(to, guess);
      const auto got = error(from, guess) * squared_error_ratio(to, from, snr).unsqueeze(1);
      EXPECT_LE(((got - expected).abs() / expected.amax(1, true)).max().item<float>(), 1e-2);
      EXPECT_LE(((got - expected).abs() / expected.amax(1, true)).mean().item<float>(), 1e-3);
    }
}

TEST(Diffusion, NamesFieldsOutOfRange) {
  const auto message = [](auto change) {
    DiffusionConfig config;
    change(config);
    return error_of([&] { make_diffusion(config); });
  };
  EXPECT_EQ(message([](auto& c) { c.levels = 0; }), "diffusion.levels: expected at least 1, got 0");
  EXPECT_EQ(message([](auto& c) { c.snr_clip = 0.0; }), "diffusion.snr_clip: expected a positive number, got 0");
  EXPECT_EQ(message([](auto& c) { c.clip_noise = -1.0; }), "diffusion.clip_noise: expected a positive number, got -1");
  EXPECT_EQ(message([](auto& c) { c.snr_decay = 1.5; }), "diffusion.snr_decay: expected a number in (0, 1], got 1.5");
  EXPECT_EQ(message([](auto& c) { c.snr_decay = std::nan(""); }), "diffusion.snr_decay: expected a number in (0, 1], got nan");
}

TEST(Diffusion, MovesItsTables) {
  const auto diffusion = make_diffusion({}).to(at::kMeta);
  EXPECT_TRUE(diffusion.schedule.alpha_bar.is_meta() && diffusion.schedule.sqrt_alpha_bar.is_meta());
  EXPECT_TRUE(diffusion.schedule.sqrt_one_minus_alpha_bar.is_meta() && diffusion.schedule.snr.is_meta());
}

}  // namespace df::test
