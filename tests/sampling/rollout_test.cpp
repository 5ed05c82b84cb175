// SPDX-License-Identifier: MIT
#include "diffusion_forcing/sampling/rollout.hpp"
#include "diffusion_forcing/config/roles.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/models/mlp_gru.hpp"
#include "diffusion_forcing/sampling/scheduling_matrix.hpp"

#include <ATen/ATen.h>

#include <fstream>

#include "support/support.hpp"

namespace df {
namespace {

using test::close;
using test::identical;

struct World {
  std::shared_ptr<CausalModel> model;
  Diffusion diffusion;
};

World make_world() {
  MlpGruConfig config;
  config.width = 4;
  config.latent = 6;
  config.mlp_layers = 2;
  DiffusionConfig diffusion;
  diffusion.levels = 40;
  diffusion.output = Space::x0;
  return {make_model(config, TokenSpec{{3}, 1, {}, 1}, 1), make_diffusion(diffusion)};
}

struct Rolled {
  Tensor x;  // [B, tokens, 3]
  RolloutStats stats;
};

Rolled roll(const World& world, const RolloutConfig& config, RolloutInput input) {
  std::vector<Tensor> tokens;
  const RolloutStats stats = rollout(*world.model, world.diffusion, config, input, [&](int64_t index, const Tensor& x) {
    EXPECT_EQ(index, static_cast<int64_t>(tokens.size()));
    tokens.push_back(x.clone());
  });
  EXPECT_EQ(static_cast<int64_t>(tokens.size()), input.tokens);
  return {at::stack(tokens, 1), stats};
}

RolloutInput make_input(const World& world, int64_t tokens, int64_t context, uint64_t seed = 5) {
  RolloutInput input;
  input.tokens = tokens;
  input.seed = seed;
  input.z = world.model->initial_latent(2, {}).detach();
  if (context > 0) input.context = seeded_normal({2, context, 3}, 11);
  input.c = seeded_normal({2, context + tokens, 1}, 12);
  return input;
}

// The initial noise that rollout gives token t, recovered from its seeds by rolling out nothing: one DDIM step of a chunk of the same size.
TEST(Rollout, StreamingEqualsOneLargeMatrix) {
  const World world = make_world();
  for (const std::string schedule : {"pyramid", "autoregressive"})
    for (const double slope : {0.5, 1.0, 2.5}) {
      RolloutConfig config;
      config.schedule = schedule;
      config.steps = 5;
      config.slope = slope;
      const int64_t T = 23;
      const RolloutInput input = make_input(world, T, 0);
      const Rolled streamed = roll(world, config, input);
      // The same program as a file: one matrix over the whole sequence, run as a single chunk.
      const auto kind = enum_value<MatrixKind>(schedule, "kind");
      const auto matrix = make_matrix(kind, T, ladder(40, 5), slope);
      const test::TemporaryFolder folder;
      config.schedule = (folder.path() / "m.csv").string();
      std::ofstream out(config.schedule);
      for (int64_t m = 0; m < matrix.rows; ++m)
        for (int64_t t = 0; t < T; ++t) out << matrix.at(m, t) << (t + 1 < T ? "," : "\n");
      out.close();
      const Rolled whole = roll(world, config, input);
      EXPECT_TRUE(close(streamed.x, whole.x, 1e-5)) << schedule << " " << slope;
      EXPECT_EQ(streamed.stats.cells, T * 5);
      EXPECT_EQ(whole.stats.cells, streamed.stats.cells);
      EXPECT_LE(streamed.stats.steps, streamed.stats.cells);
    }
}

TEST(Rollout, ALongerRolloutStartsWithTheShorter) {
  const World world = make_world();
  RolloutConfig config;
  config.schedule = "pyramid";
  config.steps = 6;
  RolloutInput input = make_input(world, 40, 3);
  const Rolled longer = roll(world, config, input);
  input.tokens = 15;
  input.c = input.c.narrow(1, 0, 18);
  EXPECT_TRUE(close(roll(world, config, input).x, longer.x.narrow(1, 0, 15), 1e-5));
}

TEST(Rollout, SequencesDoNotDependOnTheBatch) {
  const World world = make_world();
  RolloutConfig config;
  config.steps = 4;
  config.sampler.eta = 1.0;
  config.policy.stabilization = 2;  // noise on the context as well
  const RolloutInput input = make_input(world, 6, 2);
  const Rolled both = roll(world, config, input);
  for (const int64_t row : {0, 1}) {
    RolloutInput one = input;
    one.first_sequence = row;
    one.z = input.z.narrow(0, row, 1);
    one.context = input.context.narrow(0, row, 1);
    one.c = input.c.narrow(0, row, 1);
    EXPECT_TRUE(close(roll(world, config, one).x, both.x.narrow(0, row, 1), 1e-5)) << row;
  }
}

TEST(Rollout, TokensAreTheSinksToKeep) {
  const World world = make_world();
  for (const std::string schedule : {"autoregressive", "full_sequence", "pyramid"}) {
    RolloutConfig config;
    config.schedule = schedule;
    config.steps = 3;
    std::vector<Tensor> kept, copied;
    rollout(*world.model, world.diffusion, config, make_input(world, 40, 1), [&](int64_t, const Tensor& x) {
      kept.push_back(x);
      copied.push_back(x.clone());
    });
    for (size_t t = 0; t < kept.size(); ++t) EXPECT_TRUE(identical(kept[t], copied[t])) << schedule << ", token " << t;
  }
}

TEST(Rollout, ChunksOfAnyLengthCoverTheSequence) {
  const World world = make_world();
  for (const std::string schedule : {"full_sequence", "trapezoid"})
    for (const Finished finished : {Finished::last_call, Finished::reencode}) {
      RolloutConfig config;
      config.schedule = schedule;
      config.steps = 4;
      config.horizon = 4;
      config.policy.finished = finished;
      const RolloutInput input = make_input(world, 10, 1);
      const Rolled rolled = roll(world, config, input);
      EXPECT_TRUE(at::isfinite(rolled.x).all().item<bool>());
      EXPECT_TRUE(identical(rolled.x, roll(world, config, input).x));
    }
}

TEST(Rollout, ContextAndSeedMatter) {
  const World world = make_world();
  RolloutConfig config;
  config.steps = 4;
  const RolloutInput input = make_input(world, 4, 3);
  RolloutInput other = input;
  other.context = input.context + 1;
  EXPECT_FALSE(close(roll(world, config, other).x, roll(world, config, input).x, 1e-3));
  other = input;
  other.seed = 6;
  EXPECT_FALSE(close(roll(world, config, other).x, roll(world, config, input).x, 1e-3));
}

TEST(Rollout, NamesTheFieldThatIsWrong) {
  RolloutConfig config;
  config.schedule = "pyramide";
  EXPECT_EQ(test::error_of([&] { validate(config, 10); }),
            "sampling.schedule: expected full_sequence, autoregressive, pyramid, trapezoid or a CSV or npy file, got 'pyramide'");
  config = {};
  EXPECT_EQ(test::error_of([&] { validate(config, 10); }), "sampling.steps: expected 1 to 10 (diffusion.levels), got 50");
}

}  // namespace
}  // namespace df
