// SPDX-License-Identifier: MIT
#include "diffusion_forcing/core/fast_math.hpp"

#include <ATen/Context.h>
#include <gtest/gtest.h>

#include <array>
#include <memory>

namespace df {
namespace {

std::array<bool, 3> choices() {
  const auto& context = at::globalContext();
  return {context.allowTF32CuBLAS(), context.allowTF32CuDNN(), context.benchmarkCuDNN()};
}

TEST(FastMath, HoldsWhileItLives) {
  at::globalContext().setAllowTF32CuDNN(false);
  const auto before = choices(), fast = std::array{true, true, true};
  ASSERT_NE(before, fast);
  auto first = std::make_unique<FastMath>();
  EXPECT_EQ(choices(), fast);
  auto second = std::make_unique<FastMath>();
  first.reset();
  EXPECT_EQ(choices(), fast) << "somebody still wants it";
  second.reset();
  EXPECT_EQ(choices(), before);
  at::globalContext().setAllowTF32CuDNN(true);
}

}  // namespace
}  // namespace df
