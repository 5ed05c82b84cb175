// SPDX-License-Identifier: MIT
#include "core/recorded_call.hpp"

#include <gtest/gtest.h>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "support/support.hpp"

namespace df::test {
namespace {

// "Records" by keeping the work, unless it is told to refuse.
class Device final : public Accelerator {
 public:
  at::Device device() const override { return at::kCPU; }
  std::string description() const override { return "keeps the work"; }
  at::Generator make_generator(uint64_t seed) const override { return df::make_generator(seed); }
  void synchronize() const override {}
  int64_t peak_memory_bytes() const override { return 0; }
  std::unique_ptr<StreamScope> use_stream() const override { return nullptr; }
  std::unique_ptr<Graph> capture(const std::function<void()>& work, const CaptureOptions&) const override {
    ++asked;
    if (!records) return nullptr;
    if (!failure.empty()) throw Error(failure);
    struct Kept final : Graph {
      std::function<void()> work;
      void replay() override { work(); }
    };
    auto graph = std::make_unique<Kept>();
    graph->work = work;
    return graph;
  }
  bool records = true;
  std::string failure;
  mutable int asked = 0;
};

TEST(RecordedCall, IsReplayedAndItsFailurePassesThrough) {
  const Device device;
  Refusal refusal{"goes on", {}};
  RecordedCall call;
  int done = 0;
  EXPECT_TRUE(call.record(
      device,
      [&] {
        if (++done == 2) throw Error("half done");
      },
      {}, refusal));
  EXPECT_EQ(done, 0) << "a recording does not run the work";
  call.replay();
  EXPECT_EQ(error_of([&] { call.replay(); }), "half done");
  EXPECT_EQ(done, 2) << "work that failed half way must not be done again";
  EXPECT_TRUE(call.record(
      device, [] {}, {}, refusal))
      << "there already";
  EXPECT_EQ(device.asked, 1);
}

TEST(RecordedCall, IsNotTriedAgainWhereTheDeviceRefused) {
  Device device;
  Refusal refusal{"goes on", {}};
  RecordedCall first, second;
  device.failure = "no room\nand a long trace";
  EXPECT_FALSE(first.record(
      device, [] {}, {}, refusal));
  EXPECT_EQ(refusal.reason, device.failure);
  EXPECT_FALSE(second.record(
      device, [] {}, {}, refusal));
  EXPECT_EQ(device.asked, 1);

  device.records = false;
  Refusal other{"goes on", {}};
  EXPECT_FALSE(second.record(
      device, [] {}, {}, other));
  EXPECT_EQ(other.reason, "the device does not record");
}

}  // namespace
}  // namespace df::test
