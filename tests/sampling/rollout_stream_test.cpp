// SPDX-License-Identifier: MIT
#include "diffusion_forcing/sampling/rollout_stream.hpp"

#include <ATen/ATen.h>

#include <fstream>
#include <optional>

#include "diffusion_forcing/config/roles.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/models/mlp_gru.hpp"
#include "diffusion_forcing/sampling/rollout.hpp"
#include "diffusion_forcing/sampling/scheduling_matrix.hpp"
#include "support/support.hpp"

namespace df {
namespace {

using test::close;
using test::identical;

constexpr int64_t B = 2, K = 40;

struct World {
  std::shared_ptr<CausalModel> model;
  Diffusion diffusion;
};

World make_world(int64_t conditions = 1) {
  MlpGruConfig config;
  config.width = 4;
  config.latent = 6;
  config.mlp_layers = 2;
  DiffusionConfig diffusion;
  diffusion.levels = K;
  diffusion.output = Space::x0;
  return {make_model(config, TokenSpec{{3}, conditions, {}, 1}, 1), make_diffusion(diffusion)};
}

Tensor condition(int64_t token) { return seeded_normal({B, 1}, static_cast<uint64_t>(1000 + token)); }
Tensor conditions(int64_t first, int64_t count) {
  std::vector<Tensor> all;
  for (int64_t t = first; t < first + count; ++t) all.push_back(condition(t));
  return at::stack(all, 1);
}

// Every schedule that there is, a file among them.
struct Schedules {
  test::TemporaryFolder folder;
  std::vector<RolloutConfig> all;
  Schedules() {
    const auto add = [&](const std::string& schedule, double slope) {
      RolloutConfig config;
      config.schedule = schedule;
      config.steps = 5;
      config.slope = slope;
      config.horizon = 4;
      all.push_back(config);
    };
    for (const double slope : {0.0, 0.4, 1.0, 2.5, 9.0}) add("pyramid", slope);
    add("autoregressive", 1);
    add("full_sequence", 1);
    add("trapezoid", 1.5);
    const std::string file = (folder.path() / "mine.csv").string();
    std::ofstream(file) << "40,40,40\n40,20,40\n10,5,40\n0,5,30\n0,0,0\n";
    add(file, 1);
  }
};

std::vector<Tensor> rolled(const World& world, const RolloutConfig& config, int64_t tokens, int64_t context, uint64_t seed) {
  RolloutInput input;
  input.tokens = tokens;
  input.seed = seed;
  input.z = world.model->initial_latent(B, {}).detach();
  if (context > 0) input.context = seeded_normal({B, context, 3}, 11);
  if (world.model->condition_dim() > 0) input.c = conditions(-context, context + tokens);
  std::vector<Tensor> all;
  rollout(*world.model, world.diffusion, config, input, [&](int64_t, const Tensor& x) { all.push_back(x); });
  return all;
}

TEST(RolloutStream, EqualsTheRolloutForEverySchedule) {
  const World world = make_world();
  const Schedules schedules;
  const int64_t T = 14;
  for (RolloutConfig config : schedules.all)
    for (const int64_t context : {0, 3})
      for (const Unchanged unchanged : {Unchanged::hold, Unchanged::resample, Unchanged::reference, Unchanged::reference_planner})
        for (const Finished finished : {Finished::last_call, Finished::reencode}) {
          if (context > 0 && unchanged != Unchanged::hold) continue;
          config.policy.unchanged = unchanged;
          config.policy.finished = finished;
          config.sampler.eta = context > 0 ? 0.5 : 0.0;
          const auto expected = rolled(world, config, T, context, 5);
          ASSERT_EQ(static_cast<int64_t>(expected.size()), T);
          RolloutStream stream(*world.model, world.diffusion, config, B, 5);
          if (context > 0) {  // in two parts
            const Tensor x = seeded_normal({B, context, 3}, 11), c = conditions(-context, context);
            stream.context(x.narrow(1, 0, 1), c.narrow(1, 0, 1));
            stream.context(x.narrow(1, 1, context - 1), c.narrow(1, 1, context - 1));
          }
          std::vector<Tensor> tokens;
          for (int64_t t = 0; t < T; ++t) {
            stream.push(condition(t));
            if (t == T - 1) stream.finish();
            while (const auto x = stream.next()) tokens.push_back(*x);
          }
          EXPECT_EQ(stream.lookahead(), 0);
          ASSERT_EQ(static_cast<int64_t>(tokens.size()), T) << config.schedule;
          for (int64_t t = 0; t < T; ++t)
            EXPECT_TRUE(close(tokens[static_cast<size_t>(t)], expected[static_cast<size_t>(t)], 1e-4))
                << config.schedule << " of slope " << config.slope << ", " << enum_name(unchanged) << ", token " << t;
        }
}

TEST(RolloutStream, AnswersAsSoonAsItSays) {
  const World world = make_world();
  const Schedules schedules;
  std::vector<int64_t> first;
  for (RolloutConfig config : schedules.all)
    for (const Unchanged unchanged : {Unchanged::hold, Unchanged::reference})
      for (const Finished finished : {Finished::last_call, Finished::reencode}) {
        config.policy.unchanged = unchanged;
        config.policy.finished = finished;
        RolloutStream stream(*world.model, world.diffusion, config, B, 5);
        if (unchanged == Unchanged::hold && finished == Finished::last_call) first.push_back(stream.lookahead());
        int64_t pushed = 0;
        for (int64_t t = 0; t < 20; ++t) {
          while (pushed - stream.tokens() < stream.lookahead()) {
            EXPECT_FALSE(stream.next()) << config.schedule << " of slope " << config.slope << ", token " << t;
            stream.push(condition(pushed++));
          }
          EXPECT_TRUE(stream.next()) << config.schedule << " of slope " << config.slope << ", token " << t;
        }
      }
  // Pyramids of slope 0 (one chunk), .4, 1, 2.5, 9 (steeper than its 5 steps), then the others.
  EXPECT_EQ(first, (std::vector<int64_t>{4, 13, 5, 2, 1, 1, 4, 4, 3}));
}

TEST(RolloutStream, ForksAreTwoFuturesOfOnePast) {
  const World world = make_world();
  const Schedules schedules;
  for (RolloutConfig config : schedules.all) {
    config.policy.finished = Finished::reencode;
    config.sampler.eta = 1.0;
    RolloutStream stream(*world.model, world.diffusion, config, B, 5);
    stream.context(seeded_normal({B, 2, 3}, 11), conditions(-2, 2));
    const auto take = [](RolloutStream& from, int64_t first, int64_t count) {
      std::vector<Tensor> tokens;
      for (int64_t t = first; t < first + count; ++t) {
        from.push(condition(t));
        while (const auto x = from.next()) tokens.push_back(*x);
      }
      EXPECT_FALSE(tokens.empty());
      return at::stack(tokens, 1);
    };
    take(stream, 0, 13);
    RolloutStream same = stream.fork(), other = stream.fork(6);
    EXPECT_TRUE(identical(same.latent(), stream.latent()));
    EXPECT_EQ(other.tokens(), stream.tokens());
    const Tensor changed = take(other, 13, 40);  // first, to show that the others do not feel it
    const Tensor future = take(stream, 13, 40), again = take(same, 13, 40);
    EXPECT_TRUE(identical(again, future)) << config.schedule;
    EXPECT_FALSE(close(changed, future, 1e-2)) << config.schedule;
    const auto whole = rolled(world, config, 53, 2, 5);
    EXPECT_TRUE(close(future.select(1, 0), whole[static_cast<size_t>(stream.tokens() - future.size(1))], 1e-4)) << config.schedule;
  }
}

TEST(RolloutStream, TheLatentIsThatOfTheTokensHandedOut) {
  const World world = make_world();
  const Schedules schedules;
  for (RolloutConfig config : schedules.all)
    for (const int32_t stabilization : {0, 2}) {
      config.policy.finished = Finished::reencode;
      config.policy.stabilization = stabilization;
      RolloutStream stream(*world.model, world.diffusion, config, B, 5);
      Tensor z = world.model->initial_latent(B, {});
      EXPECT_TRUE(identical(stream.latent(), z));
      for (int64_t t = 0; t < 20; ++t) {
        stream.push(condition(t));
        if (t == 19) stream.finish();
        while (const auto x = stream.next()) {
          z = encode_context(*world.model, world.diffusion, x->unsqueeze(1), stabilization, at::zeros({B, 1, 3}),
                             conditions(stream.tokens() - 1, 1), z);
          ASSERT_TRUE(close(stream.latent(), z, 1e-4)) << config.schedule << " of slope " << config.slope << ", " << stream.tokens();
        }
      }
      EXPECT_EQ(stream.tokens(), 20);
    }
}

TEST(RolloutStream, GoesOnFromALatent) {
  const World world = make_world();
  RolloutConfig config;
  config.steps = 4;
  RolloutStream first(*world.model, world.diffusion, config, B, 5);
  for (int64_t t = 0; t < 3; ++t) first.push(condition(t));
  while (first.next()) continue;
  RolloutInput rest;
  rest.tokens = 2;
  rest.seed = 8;
  rest.z = first.latent();
  rest.c = conditions(3, 2);
  RolloutStream second(*world.model, world.diffusion, config, B, 8, {first.latent(), 0});
  RolloutStream fork = first.fork(8);
  second.push(condition(3));
  fork.push(condition(3));
  const Tensor x = *second.next();
  rollout(*world.model, world.diffusion, config, rest, [&](int64_t t, const Tensor& token) {
    if (t == 0) {
      EXPECT_TRUE(identical(x, token));
    }
  });
  EXPECT_FALSE(identical(x, *fork.next())) << "the noise of token 0, not of token 3";
}

TEST(RolloutStream, HoldsConstantMemoryOverAThousandTokens) {
  for (const int64_t dim : {0, 1}) {
    const World world = make_world(dim);
    const Schedules schedules;
    for (RolloutConfig config : schedules.all) {
      config.steps = 3;
      config.policy.finished = Finished::reencode;
      RolloutStream stream(*world.model, world.diffusion, config, B, 5);
      const int64_t T = dim > 0 && config.schedule == "pyramid" && config.slope == 1 ? 1000 : 150;
      int64_t bytes = 0;
      for (int64_t t = 0; t < T; ++t) {
        if (dim > 0) stream.push(condition(t));
        const auto x = stream.next();
        if (dim == 0) {
          ASSERT_TRUE(x);
        }
        if (t == 100) bytes = stream.bytes();
        if (t > 100) {
          ASSERT_EQ(stream.bytes(), bytes) << config.schedule << ", token " << t;
        }
      }
      EXPECT_GT(stream.tokens(), T - 20);
      EXPECT_LE(bytes, 40 * 1024);
      EXPECT_GE(stream.stats().cells, 2 * stream.tokens());
    }
  }
}

TEST(RolloutStream, EndsWhereItIsTold) {
  const World world = make_world(0);
  RolloutConfig config;
  config.schedule = "full_sequence";
  config.steps = 3;
  config.horizon = 4;
  RolloutStream stream(*world.model, world.diffusion, config, B, 5);
  EXPECT_TRUE(stream.next());
  EXPECT_EQ(test::error_of([&] { stream.end(2); }),
            "rollout: expected an end after the 4 tokens that have begun or have a condition, got 2");
  stream.end(6);
  int64_t more = 0;
  while (stream.next()) ++more;
  EXPECT_EQ(more, 5);
  EXPECT_EQ(stream.lookahead(), 0);
  RolloutStream none(*world.model, world.diffusion, config, B, 5);
  none.finish();
  EXPECT_FALSE(none.next());
}

TEST(RolloutStream, CountsItsSteps) {
  const World world = make_world(0);
  RolloutConfig config;
  config.steps = 3;
  RolloutStream stream(*world.model, world.diffusion, config, B, 5);
  int64_t calls = 0;
  stream.on_step([&](const RolloutStats& stats) { EXPECT_EQ(stats.steps, ++calls); });
  stream.next();
  stream.next();
  EXPECT_EQ(calls, 6);
  EXPECT_EQ(stream.stats().cells, 6);
  EXPECT_GT(stream.stats().seconds, 0.0);
}

TEST(RolloutStream, NamesWhatIsWrong) {
  const World world = make_world(), free = make_world(0);
  RolloutConfig config;
  config.steps = 4;
  RolloutStream stream(*world.model, world.diffusion, config, B, 5), unconditioned(*free.model, free.diffusion, config, B, 5);
  EXPECT_EQ(test::error_of([&] { stream.push(at::zeros({B, 2})); }), "rollout condition: expected shape [2, 1], got [2, 2]");
  EXPECT_EQ(test::error_of([&] { unconditioned.push(at::zeros({B, 1})); }), "rollout: expected no condition, since the model takes none");
  EXPECT_EQ(test::error_of([&] {
              stream.context(at::zeros({B, 1, 3}));
            }),
            "rollout condition: expected shape [2, 1, 1], got an undefined tensor");
  stream.push(condition(0));
  EXPECT_EQ(test::error_of([&] {
              stream.context(at::zeros({B, 1, 3}), at::zeros({B, 1, 1}));
            }),
            "rollout: expected the context before the first condition and token");
  stream.finish();
  EXPECT_EQ(test::error_of([&] { stream.push(condition(1)); }), "rollout: expected no condition after the 1 tokens of the end");
  EXPECT_EQ(test::error_of([&] { RolloutStream(*world.model, world.diffusion, config, 0, 5); }),
            "rollout: expected a batch of at least 1 sequence, got 0");
  config.steps = 0;
  EXPECT_EQ(test::error_of([&] { RolloutStream(*world.model, world.diffusion, config, B, 5); }),
            "sampling.steps: expected 1 to 40 (diffusion.levels), got 0");
}

}  // namespace
}  // namespace df
