// SPDX-License-Identifier: MIT
// Kernels belong to one device: what runs on another does not see them.
#include "ops/kernels.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/autograd.h>

#include <optional>
#include <thread>
#include <vector>

#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/models/unet_gru.hpp"
#include "ops/image_layout.hpp"
#include "support/plain_kernels.hpp"
#include "support/support.hpp"

namespace df {
namespace {

using Tensors = std::vector<Tensor>;

TEST(Kernels, AreThoseOfTheirDeviceAlone) {
  const at::Device first(at::kPrivateUse1, 0), second(at::kPrivateUse1, 1), cpu(at::kCPU);
  const ops::test::PlainKernels some, others;
  {
    const ops::UseKernels used(first, some.tables());
    EXPECT_EQ(ops::kernels(first).images, &some.images);
    EXPECT_EQ(ops::kernels(second).images, nullptr);
    EXPECT_EQ(ops::kernels(cpu).images, nullptr);
    EXPECT_FALSE(ops::fused(cpu));
    const ops::UseKernels on_second(second, others.tables());
    EXPECT_EQ(ops::kernels(first).images, &some.images);
    EXPECT_EQ(ops::kernels(second).images, &others.images);
    ops::Kernels images_alone;
    images_alone.images = &others.images;
    {
      const ops::UseKernels inner(first, images_alone);
      EXPECT_EQ(ops::kernels(first).images, &others.images);
      EXPECT_EQ(ops::kernels(first).cells, nullptr);
    }
    EXPECT_EQ(ops::kernels(first).cells, &some.cells);
  }
  EXPECT_EQ(ops::kernels(first).images, nullptr);
  EXPECT_EQ(ops::kernels(second).images, nullptr);
}

TEST(Kernels, CpuWithAnIndexIsTheCpu) { EXPECT_EQ(&ops::kernels(at::Device(at::kCPU, 0)), &ops::kernels(at::Device(at::kCPU))); }

// A model that another thread trains meanwhile changes nothing, with kernels or without.
TEST(Kernels, ModelsOnSeveralThreadsDoNotDisturbEachOther) {
  const auto network = [](uint64_t seed) {
    UnetGruConfig config;
    config.width = 8;
    config.latent = 8;
    config.multipliers = {1, 2};
    config.attention = {Attention::linear, Attention::full};
    config.heads = 1;
    config.gru_layers = 1;
    return make(config, {{3, 8, 8}, 0, {}, 1}, make_generator(seed));
  };
  const auto run = [](CausalModel& model, uint64_t seed) {
    const Tensor x = seeded_normal(shape({2, 3}, model.token_shape()), seed), z = model.initial_latent(2, {});
    const auto out = model.unroll(x, at::full({2, 3}, 500, at::kLong), {}, z);
    Tensors all = torch::autograd::grad({out.prediction.square().sum() + out.z.sin().sum()}, model.parameters());
    all.push_back(out.prediction.detach());
    return all;
  };
  const ops::test::PlainKernels kernels;
  for (const bool fused : {false, true}) {
    std::optional<ops::UseKernels> used;
    if (fused) used.emplace(at::kCPU, kernels.tables());
    const auto a = network(1), b = network(2);
    const Tensors of_a = run(*a, 3), of_b = run(*b, 4);
    std::vector<Tensors> found(4);
    std::vector<std::thread> threads;
    for (size_t i = 0; i < found.size(); ++i) threads.emplace_back([&, i] { found[i] = i % 2 == 0 ? run(*a, 3) : run(*b, 4); });
    for (auto& thread : threads) thread.join();
    for (size_t i = 0; i < found.size(); ++i) {
      const Tensors& alone = i % 2 == 0 ? of_a : of_b;
      ASSERT_EQ(found[i].size(), alone.size());
      for (size_t j = 0; j < alone.size(); ++j) EXPECT_TRUE(at::equal(found[i][j], alone[j])) << "thread " << i << ", tensor " << j;
    }
  }
}

}  // namespace
}  // namespace df
