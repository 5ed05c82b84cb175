// SPDX-License-Identifier: MIT
// Guided rows that a device replays from recordings give the sample of the CPU, which runs them as they are.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "cuda/on_device.hpp"
#include "diffusion_forcing/config/roles.hpp"
#include "diffusion_forcing/core/accelerator.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/models/mlp_gru.hpp"
#include "diffusion_forcing/sampling/guidance.hpp"
#include "support/support.hpp"

namespace df::test {
namespace {

// Samples of 6, then of 4 tokens by one sampler, so that the second one finds recordings made.
std::vector<Tensor> samples_on(at::Device device, bool additive) {
  MlpGruConfig config;
  config.width = 8;
  config.latent = 16;
  config.mlp_layers = 2;
  const auto model = make_model(config, {{5}, 0, {}, 1}, 3);
  model->to(device);
  for (auto& parameter : model->parameters()) parameter.requires_grad_(false);
  DiffusionConfig diffusion_config;
  diffusion_config.output = Space::x0;
  const Diffusion diffusion = make_diffusion(diffusion_config).to(device);
  Guidance guidance;
  guidance.config.scale = 2;
  guidance.additive = additive;
  guidance.reward = [](const Tensor& x0) { return -(x0 - 1).square().sum({1, 2}); };
  GuidedSampler sampler(*model, diffusion, {}, guidance);
  PlanPolicy policy;
  policy.row_order = true;
  std::vector<Tensor> samples;
  for (const int64_t tokens : {6, 4}) {
    SampleInput input;
    input.x = seeded_normal({3, tokens, 5}, 7).to(device);
    input.z = model->initial_latent(3, {});
    const auto matrix = make_matrix(MatrixKind::pyramid, tokens, ladder(diffusion_config.levels, 8), 1.0);
    samples.push_back(sampler.sample(compile(matrix, policy), input).x.cpu());
  }
  return samples;
}

TEST(GuidedRows, RecordedGiveTheSampleOfTheCpu) {
  const auto* cuda = cuda_or_null();
  if (!cuda) GTEST_SKIP() << "no CUDA device";
  const auto expected = samples_on(at::kCPU, true), recorded = samples_on(cuda->device(), true), eager = samples_on(cuda->device(), false);
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_TRUE(close(recorded[i], expected[i], 1e-2)) << i;  // TF32 there
    EXPECT_TRUE(close(eager[i], expected[i], 1e-2)) << i;
  }
}

TEST(GuidedRows, AnAdditiveRewardMayBeShownTheUnfinishedTokensAloneOnAnyDevice) {
  const auto alone = samples_on(at::kCPU, true), whole = samples_on(at::kCPU, false);
  for (size_t i = 0; i < alone.size(); ++i) EXPECT_TRUE(close(alone[i], whole[i], 1e-5)) << i;
}

}  // namespace
}  // namespace df::test
