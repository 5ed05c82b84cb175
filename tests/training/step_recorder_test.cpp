// SPDX-License-Identifier: MIT
#include "training/step_recorder.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "diffusion_forcing/core/seed.hpp"
#include "support/support.hpp"

namespace df::test {
namespace {

// A device without memory that "records" by keeping the work.
class Meta final : public Accelerator {
 public:
  at::Device device() const override { return at::kMeta; }
  std::string description() const override { return "no memory"; }
  at::Generator make_generator(uint64_t seed) const override { return df::make_generator(seed); }
  void synchronize() const override {}
  int64_t peak_memory_bytes() const override { return 0; }
  std::unique_ptr<StreamScope> use_stream() const override { return nullptr; }
  std::unique_ptr<Graph> capture(const std::function<void()>& work, const CaptureOptions&) const override {
    struct Kept final : Graph {
      std::function<void()> work;
      void replay() override { work(); }
    };
    auto graph = std::make_unique<Kept>();
    graph->work = work;
    return graph;
  }
};

Batch full_batch() {
  Batch batch;
  for (const auto& [name, field] : batch_fields) batch.*field = at::zeros({2, 3}, at::TensorOptions(at::kMeta));
  return batch;
}

TEST(StepRecorder, ShowsEveryFieldOfABatch) {
  const Meta device;
  int runs = 0;
  StepRecorder recorder(device, [&](const Batch& batch, const at::Generator&) {
    ++runs;
    for (const auto& [name, field] : batch_fields) EXPECT_TRUE((batch.*field).defined()) << name;
  });
  for (int n = 0; n < 5; ++n) recorder.run(full_batch(), 1);
  EXPECT_TRUE(recorder.recorded());
  EXPECT_EQ(runs, 5);
}

TEST(StepRecorder, DoesNotRecordWhatCannotBeRecorded) {
  const Meta device;
  int runs = 0;
  StepRecorder recorder(
      device, [&](const Batch&, const at::Generator&) { ++runs; }, "sums of a team");
  for (int n = 0; n < 5; ++n) recorder.run(full_batch(), 1);
  EXPECT_FALSE(recorder.recorded());
  EXPECT_EQ(recorder.refusal(), "sums of a team");
  EXPECT_EQ(runs, 5);
}

}  // namespace
}  // namespace df::test
