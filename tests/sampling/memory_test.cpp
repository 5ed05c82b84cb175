// SPDX-License-Identifier: MIT
// Sampling with a model that attends to the z of several tokens: against the naive loop, against calls without a cache, in parts, for long.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <map>
#include <random>

#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/sampling/rollout.hpp"
#include "diffusion_forcing/sampling/rollout_stream.hpp"
#include "diffusion_forcing/sampling/sampler.hpp"
#include "sampling/naive_sampler.hpp"
#include "sampling/random_matrix.hpp"
#include "support/attending_model.hpp"
#include "support/support.hpp"

namespace df {
namespace {

using test::AttendingModel;
using test::close;

constexpr int64_t B = 2, K = 20;

Diffusion small_diffusion(Space output = Space::x0) {
  DiffusionConfig config;
  config.levels = K;
  config.output = output;
  config.clip_noise = 6;
  return make_diffusion(config);
}

AttendingModel attending(int64_t window, int64_t layers, int64_t condition = 0) {
  return AttendingModel({.condition = condition, .layers = layers, .window = window});
}

PlanPolicy policy_of(const CausalModel& model, Finished finished, int32_t stabilization = 0) {
  PlanPolicy policy;
  policy.finished = finished;
  policy.stabilization = stabilization;
  policy.history = model.history();
  return policy;
}

SampleInput make_input(const CausalModel& model, int64_t tokens, int64_t before, uint64_t seed) {
  SampleInput input;
  input.x = seeded_normal({B, tokens, 3}, seed);
  input.z = seeded_normal(shape({B, before}, model.latent_shape()), seed + 1);
  if (model.condition_dim() > 0) input.c = seeded_normal({B, tokens, model.condition_dim()}, seed + 2);
  input.noise = seeded_cell_noise(seed + 3, {B, 3});
  return input;
}

// Every step is a run of successive tokens of one row; what it reads of tokens before has been made in that row or an earlier one.
void check_runs(const Plan& plan, int64_t window) {
  std::map<int32_t, int32_t> made;  // token -> row of its last call
  int32_t row = 0;
  for (const PlanStep& step : plan.steps) {
    for (size_t i = 0; i < step.size(); ++i) {
      EXPECT_EQ(step[i].row, step.front().row);
      EXPECT_EQ(step[i].token, step.front().token + static_cast<int32_t>(i));
      EXPECT_GE(step[i].row, row);
      for (int64_t u = std::max<int64_t>(0, step[i].token - window); u < step[i].token; ++u)
        EXPECT_TRUE(made.count(static_cast<int32_t>(u))) << "row " << step[i].row << " token " << step[i].token << " lacks z of " << u;
      made[step[i].token] = row = step[i].row;
    }
  }
}

TEST(Memory, EveryPlanEqualsTheNaiveLoop) {
  std::mt19937 random(11);
  int64_t saved = 0, several = 0;
  for (int i = 0; i < 200; ++i) {
    const int64_t window = 2 + static_cast<int64_t>(random() % 5);
    AttendingModel model = attending(window, 1 + i % 2, i % 3 == 0 ? 2 : 0);
    const Diffusion diffusion = small_diffusion(static_cast<Space>(i % 3));
    const SchedulingMatrix matrix = test::random_matrix(random, K);
    const SampleInput input = make_input(model, matrix.tokens, static_cast<int64_t>(random() % (window + 1)), static_cast<uint64_t>(i));
    PlanPolicy policy = policy_of(model, static_cast<Finished>(random() % 2), static_cast<int32_t>(random() % 4));
    policy.unchanged = static_cast<Unchanged>(random() % 3);
    policy.row_order = random() % 4 == 0;
    SamplerConfig config;
    config.solver = static_cast<Solver>(random() % 2);
    config.eta = random() % 2 ? 0.7 : 0.0;
    const Plan plan = compile(matrix, policy);
    check_runs(plan, window);
    model.calls = 0;
    const SampleOutput planned = sample(model, diffusion, plan, config, input);
    EXPECT_EQ(model.calls, static_cast<int>(plan.steps.size()));
    const test::NaiveResult naive = test::naive_sample(model, diffusion, matrix, policy, config, input);
    ASSERT_TRUE(close(planned.x, naive.x, 2e-4))
        << "case " << i << ", window " << window << ", " << enum_name(policy.unchanged) << ", " << enum_name(policy.finished);
    saved += naive.calls - static_cast<int64_t>(plan.steps.size());
    several += plan.width() > 1;
  }
  EXPECT_GT(saved, 500);
  EXPECT_GT(several, 50);
}

TEST(Memory, APyramidIsOneCallARow) {
  PlanPolicy policy;
  policy.history = 4;
  for (const double slope : {0.5, 1.0, 3.0}) {
    const auto matrix = make_matrix(MatrixKind::pyramid, 30, ladder(K, 10), slope);
    const Plan plan = compile(matrix, policy);
    EXPECT_EQ(static_cast<int64_t>(plan.steps.size()), matrix.rows - 1);
    EXPECT_EQ(plan.cells(), 30 * 10);
    check_runs(plan, 4);
  }
}

// Token after token, each call on the whole sequence so far, with nothing kept between calls.
TEST(Memory, CachedEqualsUncached) {
  const c10::NoGradGuard no_grad;
  const int64_t T = 9, S = 5, stabilization = 2;
  const std::vector<int32_t> levels = ladder(K, S);
  for (const int64_t layers : {1, 2})
    for (const int64_t window : {2, 3, 8, 20}) {
      AttendingModel model = attending(window, layers, 2);
      const Diffusion diffusion = small_diffusion();
      const SampleInput input = make_input(model, T, 0, 4);
      const auto matrix = make_matrix(MatrixKind::autoregressive, T, levels, 1);
      const SampleOutput cached = sample(model, diffusion, compile(matrix, policy_of(model, Finished::reencode, stabilization)), {}, input);
      Tensor x = input.x.clone();
      const Tensor k = at::full({B, T}, stabilization, at::kLong);
      const double shown = diffusion.schedule.sqrt_alpha_bar[stabilization].item<double>();
      for (int64_t t = 0; t < T; ++t)
        for (int64_t s = S; s >= 1; --s) {
          Tensor noisy = x.narrow(1, 0, t + 1) * shown, level = k.narrow(1, 0, t + 1).clone();
          noisy.select(1, t).copy_(x.select(1, t));
          level.select(1, t).fill_(levels[static_cast<size_t>(s)]);
          const Tensor prediction = model.unroll(noisy, level, input.c.narrow(1, 0, t + 1), model.initial_latent(B, {})).prediction;
          const Tensor from = at::full({B}, levels[static_cast<size_t>(s)], at::kLong), token = x.select(1, t);
          const Denoised denoised = decode(Space::x0, diffusion.schedule, token, from, prediction.select(1, t), 6.0);
          const Tensor to = at::full({B}, levels[static_cast<size_t>(s - 1)], at::kLong);
          token.copy_(transition(transition_coefficients(Solver::ddim, diffusion.schedule, from, to, 0.0, token), denoised, {}));
        }
      EXPECT_TRUE(close(cached.x, x, 1e-4)) << "window " << window << ", layers " << layers;
    }
}

TEST(Memory, TwoPartsEqualTheWhole) {
  for (const Finished finished : {Finished::last_call, Finished::reencode})
    for (const int64_t window : {2, 4, 7}) {
      AttendingModel model = attending(window, 2);
      const Diffusion diffusion = small_diffusion();
      SampleInput input = make_input(model, 10, 1, 5);
      input.noise = {};
      // As a whole: a matrix whose second half waits for the first.
      const auto part = make_matrix(MatrixKind::pyramid, 5, ladder(K, 4), 1);
      SchedulingMatrix matrix{2 * part.rows - 1, 10, {}};
      for (int64_t m = 0; m < matrix.rows; ++m)
        for (int64_t t = 0; t < 10; ++t)
          matrix.level.push_back(t < 5 ? part.at(std::min(m, part.rows - 1), t) : part.at(std::max<int64_t>(m - part.rows + 1, 0), t - 5));
      const PlanPolicy policy = policy_of(model, finished);
      const SampleOutput whole = sample(model, diffusion, compile(matrix, policy), {}, input);
      SampleInput half = input;
      half.x = input.x.narrow(1, 0, 5);
      const Plan plan = compile(part, policy);
      const SampleOutput first = sample(model, diffusion, plan, {}, half);
      half.x = input.x.narrow(1, 5, 5);
      half.z = finished == Finished::last_call ? first.z
                                               : encode_context(model, diffusion, first.x, 0, {}, {}, input.z);  // what re-encoding leaves
      const SampleOutput second = sample(model, diffusion, plan, {}, half);
      EXPECT_EQ(first.z.size(1), std::min<int64_t>(window, 6));
      EXPECT_TRUE(close(at::cat({first.x, second.x}, 1), whole.x, 1e-4)) << "window " << window << ", " << enum_name(finished);
    }
}

TEST(Memory, ALongRolloutEqualsOneLargeMatrixInConstantMemory) {
  AttendingModel model = attending(6, 2, 1);
  const Diffusion diffusion = small_diffusion();
  const int64_t T = 60;
  for (const std::string schedule : {"pyramid", "autoregressive"})
    for (const Finished finished : {Finished::last_call, Finished::reencode}) {
      RolloutConfig config;
      config.schedule = schedule;
      config.steps = 5;
      config.slope = 0.5;
      config.policy.finished = finished;
      RolloutInput input;
      input.tokens = T;
      input.seed = 3;
      input.z = model.initial_latent(B, {});
      input.c = seeded_normal({B, T, 1}, 8);
      std::vector<Tensor> tokens;
      rollout(model, diffusion, config, input, [&](int64_t, const Tensor& x) { tokens.push_back(x); });
      // The same noise, in one matrix.
      SampleInput whole;
      std::vector<Tensor> noise;
      for (int64_t t = 0; t < T; ++t) {
        std::vector<Tensor> sequences;
        for (uint64_t b = 0; b < B; ++b)
          sequences.push_back(seeded_normal({3}, derive_seed(derive_seed(3, Stream::sampling), {b, static_cast<uint64_t>(t)})));
        noise.push_back(at::stack(sequences));
      }
      whole.x = at::stack(noise, 1);
      whole.z = input.z;
      whole.c = input.c;
      const auto kind = enum_value<MatrixKind>(schedule, "kind");
      const auto matrix = make_matrix(kind, T, ladder(K, 5), config.slope);
      const SampleOutput expected = sample(model, diffusion, compile(matrix, policy_of(model, finished, 1)), {}, whole);
      EXPECT_TRUE(close(at::stack(tokens, 1), expected.x, 1e-4)) << schedule << ", " << enum_name(finished);

      RolloutStream stream(model, diffusion, config, B, 3);
      int64_t bytes = 0;
      const int64_t long_run = schedule == "pyramid" && finished == Finished::last_call ? 1000 : 150;
      for (int64_t t = 0; t < long_run; ++t) {
        stream.push(t < T ? input.c.select(1, t) : seeded_normal({B, 1}, static_cast<uint64_t>(t)));
        while (const auto x = stream.next()) {
          if (stream.tokens() <= T) {
            EXPECT_TRUE(close(*x, tokens[static_cast<size_t>(stream.tokens() - 1)], 1e-4)) << stream.tokens();
          }
        }
        if (t == 50) bytes = stream.bytes();
        if (t > 50) {
          ASSERT_EQ(stream.bytes(), bytes) << "token " << t;
        }
      }
      EXPECT_GT(stream.tokens(), long_run - 20);
      EXPECT_EQ(stream.latent().size(1), 6);
    }
}

TEST(Memory, PlansAreForOneHistory) {
  AttendingModel model = attending(4, 1);
  const Plan plan = compile(make_matrix(MatrixKind::pyramid, 3, ladder(K, 4), 1), {});
  EXPECT_EQ(test::error_of([&] { sample(model, small_diffusion(), plan, {}, make_input(model, 3, 2, 1)); }),
            "sampling: expected a plan for the model's history of 4 tokens (PlanPolicy::history), got one for 1");
  const Plan fitting = compile(make_matrix(MatrixKind::pyramid, 3, ladder(K, 4), 1), policy_of(model, Finished::last_call));
  EXPECT_EQ(test::error_of([&] { sample(model, small_diffusion(), fitting, {}, make_input(model, 3, 5, 1)); }),
            "z: expected a window of at most 4 tokens (history), got 5");
}

}  // namespace
}  // namespace df
