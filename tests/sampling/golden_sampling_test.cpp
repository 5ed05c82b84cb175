// SPDX-License-Identifier: MIT
// The authors' samples: context, matrices under policy `reference`, and guidance, from the golden files.
#include <ATen/ATen.h>

#include <algorithm>

#include "diffusion_forcing/core/shape.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/sampling/guidance.hpp"
#include "diffusion_forcing/sampling/sampler.hpp"
#include "support/golden.hpp"
#include "support/support.hpp"

namespace df {
namespace {

using test::close;
using test::GoldenModel;

// The authors' index [M, T] counts DDIM steps done and may lie outside 0..S.
SchedulingMatrix matrix_of(const Tensor& index, const std::vector<int32_t>& ladder) {
  const int64_t M = index.size(0), T = index.size(1), S = static_cast<int64_t>(ladder.size()) - 1;
  SchedulingMatrix matrix{M + 1, T, {}};
  for (int64_t m = 0; m <= M; ++m)
    for (int64_t t = 0; t < T; ++t) matrix.level.push_back(m < M ? ladder[S - std::clamp<int64_t>(index[m][t].item<int64_t>(), 0, S)] : 0);
  return matrix;
}

PlanPolicy policy_of(Unchanged unchanged) {
  PlanPolicy policy;
  policy.unchanged = unchanged;
  return policy;
}

SampleInput input_of(const GoldenModel& golden, const std::string& noise) {
  SampleInput input;
  input.x = golden.at("sample/x_init");
  input.z = golden.at("ctx/z_out");
  if (golden.has("ctx/c")) {
    const Tensor c = golden.at("ctx/c");
    input.c = c.narrow(1, c.size(1) - input.x.size(1), input.x.size(1));
  }
  if (golden.has(noise))
    input.noise = [draws = golden.at(noise)](const PlanStep& step) {
      std::vector<Tensor> cells;
      for (const Cell& cell : step) cells.push_back(draws[cell.row].select(1, cell.token));
      return at::stack(cells, 1);
    };
  return input;
}

TEST(GoldenSampling, ContextIsEncodedAsTheAuthorsDo) {
  for (const auto& path : test::golden_models()) {
    const GoldenModel golden = test::load_golden_model(path);
    const Diffusion diffusion = make_diffusion(golden.diffusion);
    const Tensor x0 = golden.at("ctx/x0"), init = golden.at("train/init_z");
    const Tensor c = golden.has("ctx/c") ? golden.at("ctx/c").narrow(1, 0, x0.size(1)) : Tensor();
    const Tensor z = init.unsqueeze(0).expand(shape({x0.size(0)}, init.sizes().vec()));
    EXPECT_TRUE(close(encode_context(*golden.model, diffusion, x0, 1, golden.at("ctx/eps"), c, z), golden.at("ctx/z_out"), 1e-4)) << path;
  }
}

TEST(GoldenSampling, EveryMatrixUnderPolicyReference) {
  for (const auto& path : test::golden_models()) {
    const GoldenModel golden = test::load_golden_model(path);
    const Diffusion diffusion = make_diffusion(golden.diffusion);
    SamplerConfig config;
    config.eta = golden.eta;
    const auto levels = ladder(diffusion.schedule.levels(), golden.sampling_steps);
    for (const std::string kind : {"full_sequence", "pyramid", "autoregressive"}) {
      const std::string key = "sample/" + kind + "/";
      const Plan plan = compile(matrix_of(golden.at(key + "index"), levels), policy_of(Unchanged::reference));
      const Tensor rows = golden.at(key + "rows");
      int64_t compared = 0;
      const auto check_row = [&](int64_t m, const Tensor& x) {
        for (int64_t i = 0; i < rows.size(0); ++i)
          if (rows[i].item<int64_t>() == m) {
            ++compared;
            EXPECT_TRUE(close(x, golden.at(key + "x_rows")[i], 1e-4)) << path << " " << kind << " row " << m;
          }
      };
      const SampleOutput output = sample(*golden.model, diffusion, plan, config, input_of(golden, key + "noise"), check_row);
      EXPECT_EQ(compared, rows.size(0));
      EXPECT_TRUE(close(output.x, golden.at(key + "x_final"), 1e-4)) << path << " " << kind;
      EXPECT_TRUE(close(output.z, golden.at(key + "z_final"), 1e-4)) << path << " " << kind;
    }
  }
}

TEST(GoldenSampling, TheReleasedGuidance) {
  int64_t guided_models = 0;
  for (const auto& path : test::golden_models()) {
    const GoldenModel golden = test::load_golden_model(path);
    if (!golden.has("guided/index")) continue;
    ++guided_models;
    const Diffusion diffusion = make_diffusion(golden.diffusion);
    const auto levels = ladder(diffusion.schedule.levels(), golden.sampling_steps);
    const Plan plan = compile(matrix_of(golden.at("guided/index"), levels), policy_of(Unchanged::reference_planner));
    const int64_t F = golden.spec.frame_stack;
    const auto& t = golden.tensors;
    Guidance guidance;
    guidance.config.scale = t.at("guided/scale").item<double>();
    guidance.config.coefficient = GuidanceCoefficient::released;
    guidance.reward = [&](const Tensor& x0) {  // x0 [B, T, F * D]
      const int64_t B = x0.size(0), frames = x0.size(1) * F;
      const Tensor xy = (x0.reshape({B, frames, -1}) * t.at("guided/std") + t.at("guided/mean")).narrow(2, 0, 2);
      const Tensor distance = (xy - t.at("guided/goal").unsqueeze(1)).norm(2, 2).narrow(1, 0, frames - 1);
      return -static_cast<double>(frames) * distance.sum(1) / static_cast<double>(B * x0.size(1));  // mean over batch and tokens
    };
    const int64_t rows[] = {0, 1, 8};  // those of the pyramid sample
    const SampleOutput output =
        sample_guided(*golden.model, diffusion, plan, {}, guidance, input_of(golden, ""), [&](int64_t m, const Tensor& x) {
          for (int64_t i = 0; i < 3; ++i)
            if (m == rows[i]) {
              EXPECT_TRUE(close(x, t.at("guided/x_rows")[i], 1e-4)) << path << " row " << m;
            }
        });
    // The gradient of a distance turns quickly near the goal: a relative change of 1e-7 of x_init alone moves the end by 1e-4.
    EXPECT_TRUE(close(output.x, t.at("guided/x_final"), 1e-3)) << path;
  }
  EXPECT_GT(guided_models, 0) << "no golden file holds guided samples";
}

TEST(Guidance, TheReleasedCoefficientIsTheAuthors) {
  for (const auto& path : test::golden_models()) {
    const GoldenModel golden = test::load_golden_model(path);
    if (!golden.has("guided/coefficient")) continue;
    const Diffusion diffusion = make_diffusion(golden.diffusion);
    const auto levels = ladder(diffusion.schedule.levels(), golden.sampling_steps);
    const int64_t S = static_cast<int64_t>(levels.size()) - 1;
    const Tensor index = golden.at("guided/index").clamp(0, S - 1);
    const Tensor from = at::tensor(std::vector<int64_t>(levels.begin(), levels.end()), at::kLong).index_select(0, (S - index).flatten());
    const Tensor to = at::tensor(std::vector<int64_t>(levels.begin(), levels.end()), at::kLong).index_select(0, (S - 1 - index).flatten());
    EXPECT_TRUE(close(guidance_coefficient(GuidanceCoefficient::released, diffusion.schedule, from, to, 0).view(index.sizes()),
                      golden.at("guided/coefficient"), 1e-4));
  }
}

TEST(Guidance, ExactCoefficientIsTheScoreThroughDdim) {
  DiffusionConfig config;
  config.levels = 100;
  const Diffusion diffusion = make_diffusion(config);
  const Tensor from = at::tensor(std::vector<int64_t>{100, 60, 20, 7}, at::kLong),
               to = at::tensor(std::vector<int64_t>{90, 30, 10, 0}, at::kLong);
  // A gradient of one enters as eps - sqrt(1 - a) and x0 follows from it.
  const Tensor like = at::zeros({4, 1});
  const auto c = transition_coefficients(Solver::ddim, diffusion.schedule, from, to, 0.0, like);
  const Tensor a = diffusion.schedule.alpha_bar.index_select(0, from).view({4, 1});
  const Tensor moved = c.x0 * (1 - a) / a.sqrt() - c.eps * (1 - a).sqrt();
  EXPECT_TRUE(close(guidance_coefficient(GuidanceCoefficient::exact, diffusion.schedule, from, to, 0).view({4, 1}), moved, 1e-4));
}

}  // namespace
}  // namespace df
