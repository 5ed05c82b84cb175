// SPDX-License-Identifier: MIT
// Plans against the naive loop, on random matrices, policies, solvers and backbones.
#include "diffusion_forcing/sampling/sampler.hpp"
#include "diffusion_forcing/config/roles.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/models/mlp_gru.hpp"
#include "diffusion_forcing/models/temporal_unet.hpp"
#include "diffusion_forcing/models/unet_gru.hpp"

#include <ATen/ATen.h>

#include <cmath>
#include <random>

#include "sampling/naive_sampler.hpp"
#include "sampling/random_matrix.hpp"
#include "support/support.hpp"

namespace df {
namespace {

using test::close;
using test::identical;
using test::random_matrix;

std::shared_ptr<CausalModel> vector_model() {
  MlpGruConfig config;
  config.width = 4;
  config.latent = 6;
  config.mlp_layers = 2;
  config.gru_layers = 2;
  return make_model(config, TokenSpec{{3}, 2, {}, 1}, 1);
}

std::shared_ptr<CausalModel> image_model() {
  UnetGruConfig config;
  config.width = 8;
  config.latent = 4;
  config.multipliers = {1, 2};
  config.blocks = 1;
  config.attention = {Attention::none, Attention::linear};
  config.gru_layers = 1;
  config.stem_kernel = 3;
  return make_model(config, TokenSpec{{2, 4, 4}, 0, {}, 1}, 2);
}

struct Case {
  std::shared_ptr<CausalModel> model;
  Diffusion diffusion;
  SampleInput input;
};

Case make_case(std::shared_ptr<CausalModel> model, Space output, int64_t K, int64_t T, uint64_t seed) {
  DiffusionConfig config;
  config.levels = K;
  config.output = output;
  config.clip_noise = 6;
  const int64_t B = 2;
  Case c{model, make_diffusion(config), {}};
  c.input.x = seeded_normal(shape({B, T}, model->token_shape()), seed);
  c.input.z = seeded_normal(shape({B}, model->latent_shape()), seed + 1);
  if (model->condition_dim() > 0) c.input.c = seeded_normal({B, T, model->condition_dim()}, seed + 2);
  c.input.noise = seeded_cell_noise(seed + 3, shape({B}, model->token_shape()));
  return c;
}

TEST(Sampler, EveryPlanEqualsTheNaiveLoop) {
  std::mt19937 random(7);
  const std::shared_ptr<CausalModel> models[] = {vector_model(), image_model()};
  int64_t saved = 0;
  for (int i = 0; i < 150; ++i) {
    const auto& model = models[i % 3 == 0];
    const int64_t K = 20;
    const SchedulingMatrix matrix = random_matrix(random, K);
    Case c = make_case(model, static_cast<Space>(i % 3), K, matrix.tokens, static_cast<uint64_t>(i));
    PlanPolicy policy;
    policy.unchanged = static_cast<Unchanged>(random() % 3);
    policy.finished = static_cast<Finished>(random() % 2);
    policy.stabilization = static_cast<int32_t>(random() % 4);
    policy.row_order = random() % 4 == 0;
    SamplerConfig config;
    config.solver = static_cast<Solver>(random() % 2);
    config.eta = random() % 2 ? 0.7 : 0.0;
    config.clip_x0 = random() % 3 ? 0.0 : 0.3;
    const Plan plan = compile(matrix, policy);
    const SampleOutput planned = sample(*model, c.diffusion, plan, config, c.input);
    const test::NaiveResult naive = test::naive_sample(*model, c.diffusion, matrix, policy, config, c.input);
    ASSERT_TRUE(close(planned.x, naive.x, 2e-4))
        << "case " << i << ", policy " << enum_name(policy.unchanged) << ", " << enum_name(policy.finished);
    ASSERT_LE(plan.cells(), naive.calls);
    saved += naive.calls - plan.cells();
  }
  EXPECT_GT(saved, 500);
}

TEST(Sampler, TheLastLatentIsTheOneAfterTheLastCall) {
  Case c = make_case(vector_model(), Space::x0, 20, 4, 3);
  const auto matrix = make_matrix(MatrixKind::pyramid, 4, ladder(20, 5), 1);
  const SampleOutput planned = sample(*c.model, c.diffusion, compile(matrix, {}), {}, c.input);
  const test::NaiveResult naive = test::naive_sample(*c.model, c.diffusion, matrix, {}, {}, c.input);
  EXPECT_TRUE(close(planned.z, naive.z, 1e-5));
}

TEST(Sampler, RowsAreObservedInRowOrder) {
  Case c = make_case(vector_model(), Space::v, 20, 5, 4);
  const auto matrix = make_matrix(MatrixKind::trapezoid, 5, ladder(20, 4), 1.5);
  PlanPolicy policy;
  policy.row_order = true;
  const auto naive = test::naive_sample(*c.model, c.diffusion, matrix, policy, {}, c.input);
  int64_t seen = 0;
  sample(*c.model, c.diffusion, compile(matrix, policy), {}, c.input, [&](int64_t m, const Tensor& x) {
    EXPECT_EQ(m, seen++);
    EXPECT_TRUE(close(x, naive.rows[static_cast<size_t>(m)], 1e-5)) << "row " << m;
  });
  EXPECT_EQ(seen, matrix.rows - 1);
}

TEST(Sampler, IsAFunctionOfItsInputs) {
  Case c = make_case(image_model(), Space::eps, 20, 3, 5);
  SamplerConfig config;
  config.eta = 1.0;
  const Plan plan = compile(make_matrix(MatrixKind::pyramid, 3, ladder(20, 4), 1), {});
  const auto a = sample(*c.model, c.diffusion, plan, config, c.input), b = sample(*c.model, c.diffusion, plan, config, c.input);
  EXPECT_TRUE(identical(a.x, b.x));
  c.input.noise = seeded_cell_noise(99, shape({2}, c.model->token_shape()));
  EXPECT_FALSE(identical(sample(*c.model, c.diffusion, plan, config, c.input).x, a.x));
}

// Ho et al. 2020, eq. 7, with every clean prediction clamped, as Diffuser samples: against the posterior written out.
TEST(Sampler, ClippedDdpmIsThePosteriorOfTheClampedPrediction) {
  const int64_t K = 16, B = 2;
  TemporalUnetConfig unet;
  unet.dim = 16;
  unet.multipliers = {1, 2};
  const auto model = make_model(unet, TokenSpec{{8, 6}, 8, {}, 8}, 3);
  DiffusionConfig config;
  config.schedule = ScheduleKind::cosine;
  config.levels = K;
  config.output = Space::x0;
  const Diffusion diffusion = make_diffusion(config);
  const SampleInput input{seeded_normal({B, 1, 8, 6}, 1), at::zeros({B, 1}), seeded_normal({B, 1, 8}, 2), seeded_cell_noise(3, {B, 8, 6})};
  const Plan plan = compile(make_matrix(MatrixKind::full_sequence, 1, ladder(K, K), 1), {});
  SamplerConfig sampler;
  sampler.solver = Solver::ddpm;
  const auto run = [&](double clip_x0) {
    sampler.clip_x0 = clip_x0;
    return sample(*model, diffusion, plan, sampler, input).x.select(1, 0);
  };
  const auto by_hand = [&](double bound) {
    const at::NoGradGuard no_grad;
    Tensor x = input.x.select(1, 0);
    for (int64_t k = K; k >= 1; --k) {
      const double a = diffusion.schedule.alpha_bar[k].item<double>(), before = diffusion.schedule.alpha_bar[k - 1].item<double>();
      const double beta = 1 - a / before;
      const Tensor x0 = model->step(x, at::full({B}, k, at::kLong), input.c.select(1, 0), input.z).prediction.clamp(-bound, bound);
      const Tensor mean = beta * std::sqrt(before) / (1 - a) * x0 + (1 - before) * std::sqrt(1 - beta) / (1 - a) * x;
      const auto level = static_cast<int32_t>(k);
      const Tensor noise = input.noise({Cell{static_cast<int32_t>(K - k), 0, level, level, level - 1, CellKind::update}}).select(1, 0);
      x = mean + std::sqrt(beta * (1 - before) / (1 - a)) * noise;
    }
    return x;
  };
  EXPECT_TRUE(close(run(0.2), by_hand(0.2), 1e-4));
  EXPECT_TRUE(close(run(0.0), by_hand(1e9), 1e-4));
  EXPECT_FALSE(close(run(0.0), run(0.2), 0.1)) << "nothing was clamped";
  EXPECT_LE(run(0.2).abs().max().item<double>(), 0.2 + 1e-6);
}

TEST(Sampler, NamesWhatIsWrong) {
  Case c = make_case(vector_model(), Space::eps, 20, 3, 6);
  const Plan plan = compile(make_matrix(MatrixKind::pyramid, 4, ladder(20, 4), 1), {});
  EXPECT_EQ(test::error_of([&] { sample(*c.model, c.diffusion, plan, {}, c.input); }), "x: expected shape [*, 4, 3], got [2, 3, 3]");
  Case d = make_case(vector_model(), Space::eps, 20, 4, 6);
  d.input.noise = {};
  SamplerConfig config;
  config.eta = 0.5;
  EXPECT_EQ(test::error_of([&] { sample(*d.model, d.diffusion, plan, config, d.input); }),
            "sampling: this solver or policy draws noise, but SampleInput.noise is empty");
}

}  // namespace
}  // namespace df
