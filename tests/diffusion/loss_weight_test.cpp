// SPDX-License-Identifier: MIT
#include "diffusion_forcing/diffusion/loss_weight.hpp"

#include <ATen/ATen.h>

#include "diffusion_forcing/diffusion/diffusion.hpp"
#include "support/support.hpp"

namespace df::test {

struct Variant {
  LossWeight weight;
  const char* suffix;
};
constexpr Variant variants[] = {{LossWeight::uniform, "snr0_fused0"},
                                {LossWeight::cumulative_snr, "snr0_fused1"},
                                {LossWeight::min_snr, "snr1_fused0"},
                                {LossWeight::fused_snr, "snr1_fused1"}};
constexpr std::pair<Space, const char*> objectives[] = {{Space::eps, "pred_noise"}, {Space::x0, "pred_x0"}, {Space::v, "pred_v"}};

TEST(LossWeight, EveryVariantAgreesWithTheAuthors) {
  const auto golden = read_safetensors(golden_dir() / "schedules.safetensors").tensors;
  const auto k = golden.at("weight_t") + 1;
  for (const auto kind : {ScheduleKind::linear, ScheduleKind::cosine, ScheduleKind::sigmoid})
    for (const auto& [space, objective] : objectives)
      for (const auto& [weight, suffix] : variants) {
        const std::string key = std::string(enum_name(kind)) + "/weight/" + objective + "/" + suffix;
        SCOPED_TRACE(key);
        const auto snr = at_level(make_noise_schedule(kind, 1000).snr, k, k);
        const auto got = loss_weight(weight, space, snr, 5.0, 0.9), &expected = golden.at(key);
        EXPECT_TRUE(close(got, expected, 1e-6));
      }
}

TEST(LossWeight, MinSnrWeighsTheCleanErrorAlikeInEverySpace) {
  const auto snr = make_noise_schedule(ScheduleKind::cosine, 1000).snr.slice(0, 1).view({10, 100});
  for (const auto space : {Space::eps, Space::x0, Space::v}) {
    SCOPED_TRACE(enum_name(space));
    const auto of_x0 = loss_weight(LossWeight::min_snr, space, snr, 5.0, 0.9) * squared_error_ratio(space, Space::x0, snr);
    EXPECT_LE(((of_x0 - snr.clamp_max(5.0)) / snr.clamp_max(5.0)).abs().max().item<float>(), 1e-5);
  }
}

TEST(LossWeight, IsFiniteForSequencesOfPureNoise) {
  const auto snr = at::full({2, 6}, 1e-12F);
  for (const auto& [space, name] : objectives)
    for (const auto& [weight, suffix] : variants)
      EXPECT_TRUE(loss_weight(weight, space, snr, 5.0, 0.9).isfinite().all().item<bool>()) << name << " " << suffix;
}

TEST(LossWeight, FusedWeightGrowsWithAClearerHistory) {
  auto snr = at::full({2, 4}, 0.1F);
  snr.select(0, 1).slice(0, 0, 3).fill_(100.0F);
  const auto weight = loss_weight(LossWeight::fused_snr, Space::x0, snr, 5.0, 0.9);
  EXPECT_GT(weight[1][3].item<float>(), 2.0F * weight[0][3].item<float>());
  EXPECT_LE(weight.max().item<float>(), 5.0F) << "never above the bound";
}

TEST(LossWeight, SingleTokensHaveNoHistory) {
  const auto snr = at::full({3, 1}, 0.7F);
  EXPECT_TRUE(close(loss_weight(LossWeight::fused_snr, Space::x0, snr, 5.0, 0.9), snr, 1e-6));
  EXPECT_TRUE(close(loss_weight(LossWeight::cumulative_snr, Space::x0, snr, 5.0, 0.9), at::full({3, 1}, 2.5F), 1e-6));
}

}  // namespace df::test
