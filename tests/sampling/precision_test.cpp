// SPDX-License-Identifier: MIT
// sampling.precision: every executor's model calls, and only they, run in bfloat16.
#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "diffusion_forcing/config/roles.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/models/mlp_gru.hpp"
#include "diffusion_forcing/sampling/guidance.hpp"
#include "diffusion_forcing/sampling/scheduling_matrix.hpp"
#include "support/support.hpp"

namespace df {
namespace {

enum class Executor { plain, workers, guided, branches, particles };

struct Result {
  Tensor x, z;
};

Result run(Executor executor, Precision precision) {
  const int64_t B = 3, T = 4;
  MlpGruConfig network;
  network.width = 4;
  network.latent = 8;
  network.mlp_layers = 2;
  const auto model = make_model(network, {{6}, 0, {}, 1}, 1);
  DiffusionConfig levels;
  levels.levels = 20;
  levels.output = Space::x0;
  const Diffusion diffusion = make_diffusion(levels);
  PlanPolicy policy;
  policy.row_order = executor != Executor::plain && executor != Executor::workers;
  const Plan plan = compile(make_matrix(MatrixKind::pyramid, T, ladder(20, 5), 1), policy);
  SamplerConfig config;
  config.precision = precision;
  config.cpu_workers = executor == Executor::workers ? 2 : 0;
  if (executor == Executor::particles) config.eta = 1.0;
  const SampleInput input{seeded_normal({B, T, 6}, 2), at::zeros({B, 8}), {}, seeded_cell_noise(3, {B, 6})};
  Guidance guidance;
  guidance.reward = [](const Tensor& x0) {
    EXPECT_FALSE(at::autocast::is_autocast_enabled(at::kCPU)) << "rewards have the precision of their own";
    EXPECT_EQ(x0.scalar_type(), at::kFloat);
    return -x0.square().sum({1, 2});
  };
  guidance.config.scale = 0.1;
  Result result;
  if (executor == Executor::particles) {
    guidance.config.form = GuidanceForm::resample;
    guidance.config.branches = 2;
    guidance.config.scale = 0.0;  // which particles are drawn anew must not depend on rounding
    const auto out = sample_particles(*model, diffusion, plan, config, guidance, input);
    result = {out.x, out.z};
  } else if (executor == Executor::plain || executor == Executor::workers) {
    const auto out = sample(*model, diffusion, plan, config, input);
    result = {out.x, out.z};
  } else {
    if (executor == Executor::branches) guidance.config.branches = 2, guidance.config.lookahead = 2;
    const auto out = sample_guided(*model, diffusion, plan, config, guidance, input);
    result = {out.x, out.z};
  }
  EXPECT_FALSE(at::autocast::is_autocast_enabled(at::kCPU)) << "nothing is left behind";
  return result;
}

TEST(SamplingPrecision, Bfloat16StaysNearFloat32) {
  const std::vector<std::pair<Executor, std::string>> executors = {{Executor::plain, "plain"},
                                                                   {Executor::workers, "workers"},
                                                                   {Executor::guided, "guided"},
                                                                   {Executor::branches, "branches"},
                                                                   {Executor::particles, "particles"}};
  for (const auto& [executor, name] : executors) {
    SCOPED_TRACE(name);
    const Result exact = run(executor, Precision::fp32), rounded = run(executor, Precision::bf16);
    for (const auto& [a, b] : {std::pair{exact.x, rounded.x}, std::pair{exact.z, rounded.z}}) {
      EXPECT_EQ(b.scalar_type(), at::kFloat);
      EXPECT_FALSE(at::equal(a, b)) << "the precision was not used";
      EXPECT_LT((a - b).norm().item<double>(), 0.05 * a.norm().item<double>());
    }
  }
}

}  // namespace
}  // namespace df
