// SPDX-License-Identifier: MIT
#include "core/autocast.hpp"

#include <gtest/gtest.h>

namespace df {

TEST(Autocast, RestoresWhatItFound) {
  const auto enabled = [] { return at::autocast::is_autocast_enabled(at::kCPU); };
  {
    const Autocast outer(at::kCPU, true, true);
    EXPECT_TRUE(enabled());
    {
      const Autocast inner(at::kCPU, false, false);
      EXPECT_FALSE(enabled());
      EXPECT_FALSE(at::autocast::is_autocast_cache_enabled());
    }
    EXPECT_TRUE(enabled());
    EXPECT_TRUE(at::autocast::is_autocast_cache_enabled());
  }
  EXPECT_FALSE(enabled());
}

}  // namespace df
