// SPDX-License-Identifier: MIT
#include "diffusion_forcing/training/ema.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "diffusion_forcing/core/seed.hpp"
#include "support/support.hpp"

namespace df::test {

using Named = std::vector<std::pair<std::string, Tensor>>;

TEST(Ema, StartsAsACopyOfItsOwn) {
  const auto weight = seeded_normal({3, 2}, 1).requires_grad_(true);
  Ema ema(0.9, {{"weight", weight}});
  EXPECT_EQ(ema.shadow().at(0).first, "weight");
  EXPECT_TRUE(identical(ema.shadow().at(0).second, weight));
  EXPECT_FALSE(ema.shadow().at(0).second.requires_grad());
  weight.detach().add_(1.0);
  EXPECT_FALSE(at::equal(ema.shadow().at(0).second, weight));
}

TEST(Ema, AveragesWithAWarmUp) {
  const auto weight = at::zeros({1}, at::kDouble);
  Ema ema(0.9, {{"weight", weight}});
  double expected = 0.0;
  for (int64_t n = 0; n < 200; ++n) {
    weight.fill_(static_cast<double>(n + 1));
    ema.update(n);
    const double decay = std::min(0.9, static_cast<double>(1 + n) / static_cast<double>(10 + n));
    expected = decay * expected + (1.0 - decay) * static_cast<double>(n + 1);
    ASSERT_NEAR(ema.shadow().at(0).second.item<double>(), expected, 1e-9 * expected) << "step " << n;
  }
}

TEST(Ema, SwapsInPlaceAndBack) {
  const auto a = at::full({2}, 1.0F).requires_grad_(true);
  Ema ema(0.5, {{"a", a}});
  a.detach().fill_(3.0F);
  const void* storage = a.data_ptr();
  ema.swap();
  EXPECT_TRUE(identical(a.detach(), at::full({2}, 1.0F)));
  EXPECT_EQ(a.data_ptr(), storage);
  ema.swap();
  EXPECT_TRUE(identical(a.detach(), at::full({2}, 3.0F)));
  EXPECT_TRUE(identical(ema.shadow().at(0).second, at::full({2}, 1.0F)));
}

TEST(Ema, RefusesBadDecayAndIntegers) {
  const Named none;
  EXPECT_NE(error_of([&] { Ema(1.0, none); }).find("decay in [0, 1)"), std::string::npos);
  EXPECT_NE(error_of([&] { Ema(std::numeric_limits<double>::quiet_NaN(), none); }).find("decay in [0, 1)"), std::string::npos);
  EXPECT_NE(error_of([&] { Ema(0.9, Named{{"count", at::zeros({1}, at::kLong)}}); }).find("count"), std::string::npos);
}

}  // namespace df::test
