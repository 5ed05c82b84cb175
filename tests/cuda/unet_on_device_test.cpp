// SPDX-License-Identifier: MIT
// The U-Nets on a device against the same on the CPU: values, gradients of all parameters, and a recording of both.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/autograd.h>

#include <string>
#include <vector>

#include "core/autocast.hpp"
#include "cuda/on_device.hpp"
#include "diffusion_forcing/config/roles.hpp"
#include "diffusion_forcing/core/accelerator.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/models/temporal_unet.hpp"
#include "diffusion_forcing/models/unet_gru.hpp"

namespace df::test {
namespace {

struct Result {
  Tensor prediction, z, weights, vectors;  // the last two: gradients of the parameters of several dimensions, and of one
};

class UnetOnDevice : public KernelTest {
 protected:
  static constexpr int64_t batch = 4, tokens = 3;
  struct Case {
    std::string name;
    ModelConfig config;
    TokenSpec spec;
  };

  static std::vector<Case> cases() {
    UnetGruConfig linear, full;
    linear.width = 48;
    linear.multipliers = {1, 2};
    linear.attention = {Attention::linear, Attention::full};
    full.width = 64;
    full.latent = 32;
    full.multipliers = {1, 2, 4};
    full.attention = {Attention::none, Attention::full, Attention::full};
    full.gru_layers = 1;
    const TokenSpec image{{12, 32, 32}, 0, {}, 4};
    TemporalUnetConfig short_frames;
    short_frames.dim = 16;
    short_frames.multipliers = {1, 2};
    return {{"linear", linear, image},
            {"full", full, image},
            {"trajectories", TemporalUnetConfig{}, {{64, 6}, 8, {}, 64}},
            {"short trajectories", short_frames, {{12, 16}, 8, {}, 12}}};
  }

  static Result run(CausalModel& model, const Tensor& x, const Tensor& k, const Tensor& c, const Tensor& z, bool bf16) {
    std::vector<Tensor> parameters, all[2];
    for (const auto& parameter : model.parameters()) parameters.push_back(parameter);
    Result result;
    Tensor loss;
    {
      const Autocast autocast(x.device().type(), bf16, bf16);
      const auto out = model.unroll(x, k, c, z);
      loss = (out.prediction.to(at::kFloat) - x).square().mean() + out.z.to(at::kFloat).sin().mean();
      result.prediction = out.prediction.detach();
      result.z = out.z.detach();
    }
    const auto gradients = torch::autograd::grad({loss}, parameters, {}, false, false, true);
    for (size_t i = 0; i < gradients.size(); ++i)
      if (gradients[i].defined()) all[parameters[i].dim() == 1].push_back(gradients[i].flatten().to(at::kFloat));
    result.weights = at::cat(all[0]);
    result.vectors = at::cat(all[1]);
    return result;
  }
};

TEST_F(UnetOnDevice, IsThatOfTheCpu) {
  for (const Case& c : cases())
    for (const bool bf16 : {false, true}) {
      SCOPED_TRACE(c.name + (bf16 ? ", bfloat16" : ", float32"));
      const auto stream = cuda_->use_stream();
      const auto here = make_model(c.config, c.spec, 1), there = make_model(c.config, c.spec, 1);
      there->to(cuda_->device());
      const Tensor x = seeded_normal(shape({batch, tokens}, c.spec.token_shape), 2),
                   z = seeded_normal(shape({batch}, here->latent_shape()), 3);
      const Tensor k = at::randint(0, 1001, {batch, tokens}, make_generator(4), at::TensorOptions(at::kLong));
      const Tensor condition = c.spec.condition_dim > 0 ? seeded_normal({batch, tokens, c.spec.condition_dim}, 5) : Tensor();
      const Result expected = run(*here, x, k, condition, z, false);
      const auto move = [&](const Tensor& v) { return v.defined() ? v.to(cuda_->device()) : v; };
      const Tensor dx = move(x), dk = move(k), dc = move(condition), dz = move(z);
      const auto expect_close = [&](const Result& found, double values, double slopes) {
        EXPECT_LT(relative_distance(found.prediction, expected.prediction), values);
        EXPECT_LT(relative_distance(found.z, expected.z), values);
        EXPECT_LT(relative_distance(found.weights, expected.weights), slopes);
        EXPECT_LT(relative_distance(found.vectors, expected.vectors), slopes);
      };
      expect_close(run(*there, dx, dk, dc, dz, bf16), bf16 ? 2e-2 : 5e-3, bf16 ? 3e-2 : 5e-3);
      Result recorded;
      const auto graph = cuda_->capture([&] { recorded = run(*there, dx, dk, dc, dz, bf16); });
      graph->replay();
      expect_close(recorded, bf16 ? 2e-2 : 5e-3, bf16 ? 3e-2 : 5e-3);
    }
}

}  // namespace
}  // namespace df::test
