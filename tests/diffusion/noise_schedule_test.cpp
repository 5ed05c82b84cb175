// SPDX-License-Identifier: MIT
#include "diffusion_forcing/diffusion/noise_schedule.hpp"

#include <ATen/ATen.h>

#include <cmath>

#include "diffusion_forcing/core/seed.hpp"
#include "support/support.hpp"

namespace df::test {

constexpr ScheduleKind kinds[] = {ScheduleKind::linear, ScheduleKind::cosine, ScheduleKind::sigmoid};

TEST(NoiseSchedule, AgreesWithTheAuthors) {
  const auto golden = read_safetensors(golden_dir() / "schedules.safetensors").tensors;
  for (const auto kind : kinds) {
    SCOPED_TRACE(enum_name(kind));
    const std::string name(enum_name(kind));
    const auto& expected = golden.at(name + "/alphas_cumprod");
    const auto schedule = make_noise_schedule(kind, expected.size(0));
    const auto alpha_bar = schedule.alpha_bar.slice(0, 1);
    // The authors round the end of the sigmoid to float32, which shows where alpha_bar is tiny.
    const double tolerance = kind == ScheduleKind::sigmoid ? 1e-4 : 1e-6;
    EXPECT_TRUE(close(alpha_bar, expected, 1e-6));
    EXPECT_LE(((alpha_bar - expected) / expected).abs().max().item<float>(), tolerance);
    const auto& snr = golden.at(name + "/snr");
    EXPECT_LE(((schedule.snr.slice(0, 1) - snr) / snr).abs().max().item<float>(), tolerance);
  }
}

TEST(NoiseSchedule, StartsCleanAndFalls) {
  for (const auto kind : kinds)
    for (const int64_t levels : {1, 2, 7, 30, 1000}) {
      SCOPED_TRACE(std::string(enum_name(kind)) + ", K = " + std::to_string(levels));
      const auto schedule = make_noise_schedule(kind, levels);
      EXPECT_EQ(schedule.levels(), levels);
      EXPECT_EQ(schedule.alpha_bar[0].item<float>(), 1.0F);
      EXPECT_EQ(schedule.sqrt_one_minus_alpha_bar[0].item<float>(), 0.0F);
      EXPECT_TRUE((schedule.alpha_bar.slice(0, 1) < schedule.alpha_bar.slice(0, 0, -1)).all().item<bool>());
      EXPECT_GT(schedule.alpha_bar[levels].item<float>(), 0.0F);
      EXPECT_TRUE(schedule.snr.slice(0, 1).isfinite().all().item<bool>());
      EXPECT_TRUE(close(schedule.sqrt_alpha_bar.square() + schedule.sqrt_one_minus_alpha_bar.square(), at::ones({levels + 1}), 1e-6));
    }
}

TEST(NoiseSchedule, RefusesNoLevels) {
  EXPECT_NE(error_of([] { make_noise_schedule(ScheduleKind::linear, 0); }).find("at least 1 level, got 0"), std::string::npos);
}

TEST(AtLevel, GivesEachTokenItsEntry) {
  const auto table = at::arange(5, at::kFloat) * 10;
  const auto k = at::tensor({0, 4, 2, 1, 1, 3}, at::kLong).view({2, 3});
  const auto values = at_level(table, k, at::zeros({2, 3, 4, 5}));
  EXPECT_TRUE(identical(values, (k.to(at::kFloat) * 10).view({2, 3, 1, 1})));
}

TEST(AddNoise, LeavesLevelZeroAsItIsAndDrownsTheLast) {
  const auto schedule = make_noise_schedule(ScheduleKind::sigmoid, 1000);
  const auto x0 = seeded_normal({2, 3, 4}, 1), eps = seeded_normal({2, 3, 4}, 2);
  EXPECT_TRUE(identical(add_noise(schedule, x0, at::zeros({2, 3}, at::kLong), eps), x0));
  EXPECT_TRUE(close(add_noise(schedule, x0, at::full({2, 3}, 1000, at::kLong), eps), eps, 1e-2));
  const auto half = at::full({2, 3}, 500, at::kLong);
  const double a = schedule.alpha_bar[500].item<double>();
  EXPECT_TRUE(close(add_noise(schedule, x0, half, eps), std::sqrt(a) * x0 + std::sqrt(1.0 - a) * eps, 1e-6));
}

}  // namespace df::test
