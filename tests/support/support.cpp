// SPDX-License-Identifier: MIT
#include "support/support.hpp"

#include <ATen/ATen.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "diffusion_forcing/core/error.hpp"

namespace df::test {

namespace fs = std::filesystem;

fs::path golden_dir() {
  const char* folder = std::getenv("DF_GOLDEN_DIR");
  return folder && *folder ? fs::path(folder) : fs::path(DF_SOURCE_DIR) / "tests" / "golden";
}

std::vector<fs::path> golden_models() {
  std::vector<fs::path> found;
  for (const auto& entry : fs::recursive_directory_iterator(golden_dir()))
    if (entry.path().extension() == ".safetensors" && read_safetensors(entry.path()).metadata.count("config"))
      found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  EXPECT_FALSE(found.empty()) << "no golden model in " << golden_dir();
  return found;
}

::testing::AssertionResult close(const Tensor& a, const Tensor& b, double tolerance) {
  if (!a.defined() || !b.defined()) return ::testing::AssertionFailure() << "undefined tensor";
  if (a.sizes() != b.sizes()) return ::testing::AssertionFailure() << "shapes " << a.sizes() << " and " << b.sizes();
  if (a.numel() == 0) return ::testing::AssertionSuccess();
  const auto x = a.detach().to(at::kDouble), y = b.detach().to(at::kDouble);
  const double error = (x - y).abs().max().item<double>() / (y.abs().max().item<double>() + 1e-12);
  if (error <= tolerance) return ::testing::AssertionSuccess();
  const auto at = (x - y).abs().flatten().argmax().item<int64_t>();
  return ::testing::AssertionFailure() << "relative error " << error << " > " << tolerance << " (element " << at << ": "
                                       << x.flatten()[at].item<double>() << " against " << y.flatten()[at].item<double>() << ")";
}

::testing::AssertionResult identical(const Tensor& a, const Tensor& b) {
  if (a.sizes() != b.sizes() || a.scalar_type() != b.scalar_type())
    return ::testing::AssertionFailure() << a.toString() << a.sizes() << " and " << b.toString() << b.sizes();
  if (at::equal(a, b)) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "differ in " << (a != b).sum().item<int64_t>() << " of " << a.numel() << " elements";
}

TemporaryFolder::TemporaryFolder() {
  std::string name = (fs::temp_directory_path() / "df_test_XXXXXX").string();
  path_ = ::mkdtemp(name.data());
}
TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "expected a df::Error, nothing was thrown";
  return "";
}

}  // namespace df::test
