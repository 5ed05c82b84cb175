// SPDX-License-Identifier: MIT
// Batches in page-locked memory hold what other batches hold, and reach the device unharmed while later ones are being made.
#include "diffusion_forcing/data/loader.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <vector>

#include "cuda/on_device.hpp"
#include "diffusion_forcing/core/seed.hpp"

namespace df::test {
namespace {

class Numbers final : public Dataset {
 public:
  DataSpec spec() const override {
    DataSpec spec;
    spec.tokens = 64;
    return spec;
  }
  int64_t size() const override { return 1000; }
  Batch get(int64_t index, int64_t) const override {
    Batch batch;
    batch.x = seeded_normal({64, 256}, static_cast<uint64_t>(index));
    batch.mask = at::full({64}, index, at::kLong);
    return batch;
  }
  std::string describe() const override { return "numbers"; }
};

TEST(PinnedLoader, BatchesAreThoseOfOrdinaryMemory) {
  const Accelerator* cuda = cuda_or_null();
  if (!cuda) GTEST_SKIP() << "no CUDA device";
  const auto data = std::make_shared<Numbers>();
  Loader ordinary(data, {.batch = 32, .workers = 0}, 3);
  Loader pinned(data, {.batch = 32, .workers = 3, .prefetch = 5, .pin_memory = true}, 3);
  std::vector<Batch> there;
  for (int i = 0; i < 40; ++i) {
    const Batch batch = pinned.next();
    ASSERT_TRUE(batch.x.is_pinned());
    Batch copy;
    copy.x = at::empty_like(batch.x, at::TensorOptions(cuda->device()));
    copy.mask = at::empty_like(batch.mask, at::TensorOptions(cuda->device()));
    copy.x.copy_(batch.x, /*non_blocking=*/true);
    copy.mask.copy_(batch.mask, /*non_blocking=*/true);
    there.push_back(copy);
  }
  for (const Batch& copy : there) {
    const Batch expected = ordinary.next();
    EXPECT_TRUE(at::equal(copy.x.cpu(), expected.x));
    EXPECT_TRUE(at::equal(copy.mask.cpu(), expected.mask));
  }
}

}  // namespace
}  // namespace df::test
