// SPDX-License-Identifier: MIT
// What tests share: golden files, comparisons that report where they fail, temporary folders, tiny models.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "diffusion_forcing/core/safetensors.hpp"
#include "diffusion_forcing/core/tensor.hpp"

namespace df::test {

// DF_GOLDEN_DIR, or tests/golden of the source tree.
std::filesystem::path golden_dir();
// Every model file there (those whose metadata has a `config`); at least one, or the test fails.
std::vector<std::filesystem::path> golden_models();

// Largest |a - b| over (largest |b| + 1e-12). Passes below `tolerance`.
::testing::AssertionResult close(const Tensor& a, const Tensor& b, double tolerance);
// Same shape, dtype and bits.
::testing::AssertionResult identical(const Tensor& a, const Tensor& b);

// Removed at the end of its life.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// The message of the df::Error that `f` throws; fails the test and returns "" if none.
std::string error_of(const std::function<void()>& f);

}  // namespace df::test
