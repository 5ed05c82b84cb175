// SPDX-License-Identifier: MIT
// A training on a device: recorded steps whose batch is computed in parts learn what those of a whole batch learn.
#include "diffusion_forcing/config/roles.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/data/loader.hpp"
#include "diffusion_forcing/diffusion/loss.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/models/unet_gru.hpp"
#include "diffusion_forcing/training/trainer.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "cuda/on_device.hpp"
#include "support/support.hpp"

namespace df::test {
namespace {

const TokenSpec token{{8, 16, 16}, 0, {}, 1};
constexpr int64_t tokens = 3;

class Clips final : public Dataset {
 public:
  DataSpec spec() const override { return {token, tokens, 0.5, 0.5}; }
  int64_t size() const override { return 64; }
  Batch get(int64_t index, int64_t) const override {
    Batch batch;
    batch.x = seeded_normal(shape({tokens}, token.token_shape), static_cast<uint64_t>(index));
    return batch;
  }
  std::string describe() const override { return "clips"; }
};

std::vector<double> losses(const Accelerator& cuda, int64_t accumulate, Precision precision) {
  UnetGruConfig network;
  network.width = 16;
  network.multipliers = {1, 2};
  network.attention = {Attention::linear, Attention::full};
  const auto model = make_model(network, token, 1);
  model->to(cuda.device());
  const auto diffusion = make_diffusion({}).to(cuda.device());
  Loader loader(std::make_shared<Clips>(), {.batch = 8, .workers = 2, .pin_memory = true}, 5);
  TrainerConfig config;
  config.batch = 8;
  config.accumulate = accumulate;
  config.precision = precision;
  Objective objective;
  objective.draw = [&](const Batch& batch, at::Generator generator) -> std::vector<Tensor> {
    const auto draw = draw_noise(TrainingNoise::independent, diffusion.config.levels, batch.x, 0, std::move(generator));
    return {draw.k, draw.eps};
  };
  objective.loss = [&](const Batch& batch, const std::vector<Tensor>& draws) {
    const Tensor z = model->initial_latent(batch.x.size(0), {});
    return training_loss(*model, diffusion, TrainingNoise::independent, 1, {batch.x, {}, {}, z}, {draws[0], draws[1]});
  };
  Trainer trainer(config, named_tensors(*model), objective, loader, 7, cuda.device());
  std::vector<double> all;
  for (int i = 0; i < 16; ++i) all.push_back(trainer.step());
  return all;
}

TEST(TrainerOnDevice, PartsChangeOnlyTheRounding) {
  const auto* cuda = cuda_or_null();
  if (!cuda) GTEST_SKIP() << "no CUDA device";
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    const auto expected = losses(*cuda, 1, precision);
    for (const int64_t accumulate : {2, 4}) {
      const auto found = losses(*cuda, accumulate, precision);
      for (size_t i = 0; i < expected.size(); ++i)
        EXPECT_NEAR(found[i], expected[i], (precision == Precision::fp32 ? 1e-3 : 1e-2) * expected[i])
            << accumulate << " parts, step " << i;
    }
  }
}

}  // namespace
}  // namespace df::test
