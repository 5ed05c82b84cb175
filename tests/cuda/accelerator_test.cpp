// SPDX-License-Identifier: MIT
#include "diffusion_forcing/core/accelerator.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/autograd.h>

#include "diffusion_forcing/core/error.hpp"
#include "support/support.hpp"

namespace df::test {
namespace {

// Skips where no CUDA device can be had.
class CudaAccelerator : public ::testing::Test {
 protected:
  void SetUp() override {
    try {
      cuda_ = &accelerator("cuda");
    } catch (const Error& error) {
      GTEST_SKIP() << error.what();
    }
    scope_ = cuda_->use_stream();
  }
  const Accelerator* cuda_ = nullptr;
  std::unique_ptr<StreamScope> scope_;
};

TEST(CpuAccelerator, CannotRecord) {
  bool ran = false;
  EXPECT_EQ(accelerator("cpu").capture([&] { ran = true; }), nullptr);
  EXPECT_FALSE(ran);
}

TEST(CpuAccelerator, NamesUnknownDevices) {
  EXPECT_NE(error_of([] { accelerator("tpu"); }).find("'tpu'"), std::string::npos);
  EXPECT_NE(error_of([] { accelerator("cuda:x"); }).find("'cuda:x'"), std::string::npos);
}

// A random draw, a product, its gradient and an update of the weight, as one recording.
struct TinyStep {
  TinyStep(const Accelerator& on, uint64_t seed) : generator(on.make_generator(seed)) {
    const auto options = at::TensorOptions().device(on.device());
    weight = at::full({8, 8}, 0.1, options).add_(at::eye(8, options)).requires_grad_();
  }
  void run() {
    eps = at::randn({16, 8}, generator, weight.options().requires_grad(false));
    const auto loss = eps.mm(weight).square().mean();
    const auto gradient = torch::autograd::grad({loss}, {weight})[0];
    const at::NoGradGuard no_grad;
    weight.sub_(gradient, 0.1);
  }
  at::Generator generator;
  Tensor weight, eps;
};

TEST_F(CudaAccelerator, ReplaysDrawFreshNoiseAndEqualEagerSteps) {
  TinyStep eager(*cuda_, 5), recorded(*cuda_, 5);
  const auto start = recorded.weight.detach().clone();
  const auto graph = cuda_->capture([&] { recorded.run(); }, {.warm_up = 3, .generators = {recorded.generator}});
  ASSERT_NE(graph, nullptr);
  for (int run = 0; run < 3; ++run) eager.run();
  EXPECT_TRUE(identical(recorded.weight.detach(), eager.weight.detach())) << "recording must not run the work";
  Tensor last;
  for (int run = 0; run < 4; ++run) {
    eager.run();
    graph->replay();
    EXPECT_TRUE(identical(recorded.eps, eager.eps)) << "replay " << run;
    EXPECT_TRUE(close(recorded.weight.detach(), eager.weight.detach(), 1e-6)) << "replay " << run;
    EXPECT_FALSE(last.defined() && at::equal(last, recorded.eps)) << "replay " << run;
    last = recorded.eps.clone();
  }
  EXPECT_FALSE(at::equal(start, recorded.weight.detach()));
}

TEST_F(CudaAccelerator, SeedBeforeReplaySetsTheDraws) {
  TinyStep step(*cuda_, 1);
  const auto graph = cuda_->capture([&] { step.run(); }, {.warm_up = 3, .generators = {step.generator}});
  step.generator.set_current_seed(77);
  graph->replay();
  const auto first = step.eps.clone();
  graph->replay();
  EXPECT_FALSE(at::equal(first, step.eps));
  step.generator.set_current_seed(77);
  graph->replay();
  EXPECT_TRUE(identical(step.eps, first));
}

TEST_F(CudaAccelerator, WorkThatThrowsLeavesTheStreamUsable) {
  const auto x = at::ones({4}, at::TensorOptions().device(cuda_->device()));
  EXPECT_THROW(cuda_->capture([&] { throw Error("no"); }, {.warm_up = 0, .generators = {}}), Error);
  EXPECT_EQ(x.add(1).sum().item<float>(), 8.0F);
  Tensor y;
  const auto graph = cuda_->capture([&] { y = x * 3; });
  graph->replay();
  EXPECT_EQ(y.sum().item<float>(), 12.0F);
}

TEST_F(CudaAccelerator, CountsMemory) {
  const auto x = at::ones({1 << 22}, at::TensorOptions().device(cuda_->device()));
  EXPECT_GE(cuda_->peak_memory_bytes(), x.numel() * 4);
  EXPECT_FALSE(cuda_->description().empty());
}

}  // namespace
}  // namespace df::test
