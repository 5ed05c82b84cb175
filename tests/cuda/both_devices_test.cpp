// SPDX-License-Identifier: MIT
// A model on the CPU and one on a CUDA device, trained at the same time in one process.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/autograd.h>

#include <thread>
#include <vector>

#include "cuda/on_device.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/models/unet_gru.hpp"

namespace df::test {
namespace {

using Tensors = std::vector<Tensor>;
using BothDevices = KernelTest;

std::shared_ptr<CausalModel> unet() {
  UnetGruConfig config;
  config.width = 16;
  config.latent = 8;
  config.multipliers = {1, 2};
  config.attention = {Attention::linear, Attention::full};
  config.gru_layers = 1;
  return make(config, {{12, 16, 16}, 0, {}, 4}, make_generator(1));
}

// Some steps of gradient descent from the same weights: those after them.
Tensors train(const Accelerator& on) {
  const auto stream = on.use_stream();
  const auto model = unet();
  model->to(on.device());
  const Tensor x = seeded_normal({2, 3, 12, 16, 16}, 2).to(on.device());
  const Tensor k = at::full({2, 3}, 500, x.options().dtype(at::kLong));
  const auto step = [&] {
    const auto out = model->unroll(x, k, {}, model->initial_latent(2, {}));
    const auto parameters = model->parameters();
    const auto gradients = torch::autograd::grad({(out.prediction - x).square().mean()}, parameters, {}, false, false, true);
    const at::NoGradGuard no_grad;
    for (size_t i = 0; i < parameters.size(); ++i)
      if (gradients[i].defined()) Tensor(parameters[i]).sub_(gradients[i], 1e-2);
  };
  const auto graph = on.capture(step, {.warm_up = 2, .generators = {}});
  for (int i = graph ? 2 : 0; i < 6; ++i) graph ? graph->replay() : step();
  on.synchronize();
  Tensors all;
  for (const Tensor& parameter : model->parameters()) all.push_back(parameter.detach().to(at::kCPU).contiguous());
  return all;
}

TEST_F(BothDevices, TrainAtTheSameTimeAsAlone) {
  const Accelerator& cpu = accelerator("cpu");
  const Tensors alone_here = train(cpu), alone_there = train(*cuda_);
  Tensors here, there;
  std::thread other([&] { there = train(*cuda_); });
  here = train(cpu);
  other.join();
  const Tensors start = [] {
    Tensors all;
    for (const Tensor& parameter : unet()->parameters()) all.push_back(parameter.detach());
    return all;
  }();
  double moved = 0.0, apart = 0.0;
  for (size_t i = 0; i < start.size(); ++i) {
    EXPECT_TRUE(at::equal(here[i], alone_here[i])) << i;
    moved += (alone_there[i] - start[i]).square().sum().item<double>();
    apart += (there[i] - alone_there[i]).square().sum().item<double>();
  }
  EXPECT_GT(moved, 0.0);
  EXPECT_LT(std::sqrt(apart), 2e-2 * std::sqrt(moved)) << "of the steps that the weights made";
}

// However a model came to the device, its weights lie as the device's kernels want them.
TEST_F(BothDevices, WeightsAreLaidOutAsTheyMove) {
  const auto model = unet();
  model->to(cuda_->device());
  for (const auto& parameter : model->named_parameters())
    if (parameter.key().ends_with("proj.weight")) {
      EXPECT_TRUE(parameter.value().is_contiguous(at::MemoryFormat::ChannelsLast)) << parameter.key();
    }
}

}  // namespace
}  // namespace df::test
