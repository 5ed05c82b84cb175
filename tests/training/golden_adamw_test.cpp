// SPDX-License-Identifier: MIT
// Ten of the authors' AdamW steps on one batch and one draw, over every golden model.
#include <ATen/ATen.h>
#include <torch/autograd.h>

#include "diffusion_forcing/diffusion/loss.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/training/optimizer.hpp"
#include "support/golden.hpp"
#include "support/support.hpp"

namespace df::test {

TEST(GoldenAdamW, TenStepsAgreeWithTheAuthors) {
  for (const auto& path : golden_models()) {
    SCOPED_TRACE(path.filename().string());
    const auto golden = load_golden_model(path);
    const auto diffusion = make_diffusion(golden.diffusion);
    std::vector<std::pair<std::string, Tensor>> named;
    std::vector<Tensor> parameters, losses;
    for (const auto& item : golden.model->named_parameters()) {
      named.emplace_back(item.key(), item.value());
      parameters.push_back(item.value());
    }
    OptimizerConfig config;
    config.weight_decay = 2e-3;
    config.beta1 = 0.9;
    config.beta2 = 0.99;
    config.clip = 1.0;
    AdamW optimizer(config, named);
    const auto& x0 = golden.at("train/x0");
    for (int n = 0; n < 10; ++n) {
      const LossInput input{x0, golden.optional("train/c"), golden.at("train/mask"), golden.model->initial_latent(x0.size(0), {})};
      const auto loss = diffusion_forcing_loss(*golden.model, diffusion, TrainingNoise::independent, golden.spec.frame_stack, input,
                                               {golden.level("train/t"), golden.at("train/eps")})
                            .loss;
      losses.push_back(loss.detach());
      auto gradients = torch::autograd::grad({loss}, parameters, {}, std::nullopt, false, true);
      optimizer.step(gradients, 2e-4);
    }
    EXPECT_TRUE(close(at::stack(losses), golden.at("adamw/losses"), 1e-4));
    int64_t compared = 0;
    for (const auto& [name, parameter] : named) {
      const std::string key = "adamw/after/" + name;
      if (!golden.has(key)) continue;
      ++compared;
      EXPECT_TRUE(close(parameter, golden.at(key), 1e-4)) << key;
    }
    EXPECT_GT(compared, 0);
  }
}

}  // namespace df::test
