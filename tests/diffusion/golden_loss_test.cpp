// SPDX-License-Identifier: MIT
// The authors' losses and gradients, over every golden model.
#include <ATen/ATen.h>
#include <torch/autograd.h>

#include "diffusion_forcing/diffusion/loss.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "support/golden.hpp"
#include "support/support.hpp"

namespace df::test {

namespace {

LossOutput golden_loss(const GoldenModel& golden, bool masked = true) {
  const auto& x0 = golden.at("train/x0");
  const LossInput input{x0, golden.optional("train/c"), masked ? golden.at("train/mask") : Tensor(),
                        golden.model->initial_latent(x0.size(0), {})};
  return diffusion_forcing_loss(*golden.model, make_diffusion(golden.diffusion), TrainingNoise::independent, golden.spec.frame_stack, input,
                                {golden.level("train/t"), golden.at("train/eps")});
}

}  // namespace

TEST(GoldenLoss, AgreesWithTheAuthors) {
  for (const auto& path : golden_models()) {
    SCOPED_TRACE(path.filename().string());
    const auto golden = load_golden_model(path);
    const auto out = golden_loss(golden);
    EXPECT_TRUE(close(out.loss, golden.at("train/loss"), 1e-5));
    EXPECT_TRUE(close(golden_loss(golden, false).weighted, golden.at("train/weighted_loss"), 1e-5)) << "theirs is before the mask";
    EXPECT_TRUE(close(out.z, golden.at("train/z"), 1e-5));
    EXPECT_TRUE(close(out.x0, golden.at("train/pred_x_start"), 1e-5));
  }
}

TEST(GoldenLoss, GradientsAgreeWithTheAuthors) {
  for (const auto& path : golden_models()) {
    SCOPED_TRACE(path.filename().string());
    const auto golden = load_golden_model(path);
    const auto parameters = golden.model->named_parameters();
    std::vector<Tensor> inputs;
    for (const auto& name : golden.grad_names) inputs.push_back(parameters[name]);
    const auto gradients = torch::autograd::grad({golden_loss(golden).loss}, inputs);
    std::vector<Tensor> norms, sums;
    int64_t whole = 0;
    for (size_t i = 0; i < gradients.size(); ++i) {
      norms.push_back(gradients[i].norm());
      sums.push_back(gradients[i].sum());
      const std::string key = "grad/" + golden.grad_names[i];
      if (!golden.has(key)) continue;
      ++whole;
      // Biases in front of a normalisation have no gradient but rounding: they are held to the scale of the whole.
      const double bound = 1e-4 * golden.at(key).abs().max().item<double>() + 1e-7 * golden.at("grad_norm").max().item<double>();
      EXPECT_LE((gradients[i] - golden.at(key)).abs().max().item<double>(), bound) << key;
    }
    EXPECT_GT(whole, 0);
    EXPECT_TRUE(close(at::stack(norms), golden.at("grad_norm"), 1e-4));
    EXPECT_TRUE(close(at::stack(sums), golden.at("grad_sum"), 1e-4));
  }
}

}  // namespace df::test
