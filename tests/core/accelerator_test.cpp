// SPDX-License-Identifier: MIT
#include "diffusion_forcing/core/accelerator.hpp"

#include <gtest/gtest.h>

#include "support/support.hpp"

namespace df {
namespace {

// Where `auto` falls back on the CPU it says why, as `cuda` does.
TEST(Accelerator, SaysWhyAutoIsTheCpu) {
  std::string why = "untouched";
  const Accelerator& on = accelerator("auto", &why);
  if (!on.device().is_cpu()) {
    EXPECT_EQ(why, "untouched");
    return;
  }
  EXPECT_NE(why, "untouched");
  EXPECT_FALSE(why.empty());
  EXPECT_NE(test::error_of([] { accelerator("cuda"); }).find(why), std::string::npos);
  std::string unasked = "untouched";
  accelerator("cpu", &unasked);
  EXPECT_EQ(unasked, "untouched");
}

}  // namespace
}  // namespace df
