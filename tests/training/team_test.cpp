// SPDX-License-Identifier: MIT
// Trainers of one process as a team of threads: what one trainer would do with the whole batch.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <mutex>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/file.hpp"
#include "support/support.hpp"
#include "support/thread_team.hpp"
#include "training/process.hpp"

namespace df::test {
namespace {

constexpr int64_t steps = 20;
using TeamOf = std::shared_ptr<const Team>;

TrainerConfig configured(int64_t batch, int64_t accumulate = 1, int64_t workers = 0) {
  TrainerConfig config = small();
  config.steps = steps;
  config.batch = batch;
  config.accumulate = accumulate;
  config.cpu_workers = workers;
  return config;
}

void expect_no_errors(const std::vector<std::string>& messages) {
  for (const auto& message : messages) EXPECT_EQ(message, "");
}

std::vector<Tensor> values_of(const Process& process) {
  std::vector<Tensor> values;
  for (const auto& [name, tensor] : process.weights) values.push_back(tensor.detach().clone());
  return values;
}

void expect_relative(const std::vector<double>& got, const std::vector<double>& expected, double tolerance) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], tolerance * expected[i]) << "step " << i + 1;
}

struct Shared {
  std::vector<std::vector<double>> losses;
  std::vector<std::vector<Tensor>> weights;
  std::vector<int64_t> reads;
  explicit Shared(int64_t ranks) : losses(static_cast<size_t>(ranks)), weights(losses.size()), reads(losses.size()) {}
};

TEST(TeamOfRanks, TrainsAsOneProcessDoes) {
  struct Case {
    int64_t ranks, batch, accumulate, workers;
  };
  for (const Case& c : {Case{2, 8, 1, 0}, {2, 8, 2, 2}, {2, 7, 1, 0}, {3, 8, 2, 0}}) {
    SCOPED_TRACE(testing::Message() << c.ranks << " ranks, batch " << c.batch << ", accumulate " << c.accumulate << ", " << c.workers
                                    << " workers");
    Process whole(configured(c.batch));
    const auto expected = whole.steps(steps);
    Shared shared(c.ranks);
    expect_no_errors(run_team(c.ranks, [&](const TeamOf& team) {
      Process process(configured(c.batch, c.accumulate, c.workers), 0, seed, team);
      const auto rank = static_cast<size_t>(team->rank());
      shared.losses[rank] = process.steps(steps);
      shared.weights[rank] = values_of(process);
      shared.reads[rank] = process.data->reads;
    }));
    expect_relative(shared.losses[0], expected, 1e-6);
    const auto weights = values_of(whole);
    for (size_t rank = 0; rank < shared.losses.size(); ++rank) {
      EXPECT_EQ(shared.losses[rank], shared.losses[0]);
      EXPECT_EQ(shared.reads[rank], steps * share_of(c.batch, static_cast<int64_t>(rank), c.ranks).size()) << "only its own sequences";
      for (size_t i = 0; i < weights.size(); ++i) {
        EXPECT_TRUE(identical(shared.weights[rank][i], shared.weights[0][i])) << "rank " << rank;
        EXPECT_TRUE(close(shared.weights[rank][i], weights[i], 1e-5)) << "rank " << rank;
      }
    }
  }
}

TEST(TeamOfRanks, HasOneWriterAndResumesWithAnotherNumberOfRanks) {
  TrainerConfig config = configured(8);
  config.checkpoint_every = 10;
  config.validate_every = 10;
  config.sample_every = 10;
  Process whole(config);
  const TemporaryFolder plain, folder;
  std::vector<double> expected;
  TrainerHooks hooks;
  hooks.on_report = [&](const StepReport& report) { expected.push_back(report.loss); };
  whole.trainer->run(plain.path(), hooks);

  std::mutex mutex;
  std::vector<double> losses;
  std::vector<int64_t> validated, sampled;
  const auto part = [&](const TeamOf& team, int64_t stop_after) {
    const auto checkpoint = latest_checkpoint(folder.path() / "rank 0");
    Process process(config, checkpoint ? inspect_checkpoint(*checkpoint).step : 0, seed, team);
    if (checkpoint) process.trainer->load(*checkpoint);
    TrainerHooks watched;
    watched.on_report = [&](const StepReport& report) {
      const std::lock_guard lock(mutex);
      losses.push_back(report.loss);
    };
    watched.on_validate = [&](int64_t step) { validated.push_back(step); };
    watched.on_sample = [&](int64_t step) { sampled.push_back(step); };
    // Only the last rank asks to stop; all hear of it.
    const auto stop = [&] { return team->rank() == team->size() - 1 && process.trainer->steps_done() == stop_after; };
    process.trainer->run(folder.path() / ("rank " + std::to_string(team->rank())), watched, stop);
    EXPECT_EQ(process.trainer->steps_done(), stop_after > 0 ? stop_after : steps);
  };
  expect_no_errors(run_team(2, [&](const TeamOf& team) { part(team, 12); }));
  EXPECT_EQ(latest_checkpoint(folder.path() / "rank 0")->filename(), "step_12");
  expect_no_errors(run_team(3, [&](const TeamOf& team) { part(team, 16); }));
  part(alone(), 0);

  expect_relative(losses, expected, 1e-6);
  EXPECT_EQ(validated, (std::vector<int64_t>{10, 20}));
  EXPECT_EQ(sampled, (std::vector<int64_t>{10, 20}));
  for (const char* other : {"rank 1", "rank 2"}) EXPECT_FALSE(fs::exists(folder.path() / other)) << "rank 0 writes all files";
  const auto final_weights = [](const fs::path& run) { return read_safetensors(run / "checkpoints/step_20/ema.safetensors").tensors; };
  expect_close(final_weights(folder.path() / "rank 0"), final_weights(plain.path()), 1e-5);
}

TEST(TeamOfRanks, StartsWithTheWeightsOfRankZero) {
  Shared shared(2);
  expect_no_errors(run_team(2, [&](const TeamOf& team) {
    TrainerConfig config = configured(8);
    Process model(config);  // for its weights
    if (team->rank() == 1)
      for (auto& [name, tensor] : model.weights) tensor.detach().fill_(3);
    Objective objective;
    objective.draw = [](const Batch&, at::Generator) { return std::vector<Tensor>(); };
    objective.loss = [&](const Batch& batch, const std::vector<Tensor>&) {
      return batch.x.matmul(model.weights[0].second).matmul(model.weights[1].second).square().mean();
    };
    Loader loader(model.data, {.batch = 8, .workers = 0, .rank = team->rank(), .ranks = 2}, seed);
    Trainer trainer(config, model.weights, objective, loader, seed, at::kCPU, team);
    trainer.step();
    shared.weights[static_cast<size_t>(team->rank())] = values_of(model);
    trainer.swap_ema();
    for (const Tensor& average : values_of(model)) shared.weights[static_cast<size_t>(team->rank())].push_back(average);
  }));
  for (size_t i = 0; i < shared.weights[0].size(); ++i) EXPECT_TRUE(identical(shared.weights[1][i], shared.weights[0][i])) << i;
}

// A parameter that the sequences of one rank alone depend on.
TEST(TeamOfRanks, SumsGradientsThatOneRankHas) {
  Shared shared(2);
  expect_no_errors(run_team(2, [&](const TeamOf& team) {
    Process process(configured(8), 0, seed, team);
    if (team->rank() == 1) process.spoil = [&](const Tensor& loss) { return loss + process.weights[2].second.square().sum(); };
    process.steps(3);
    shared.weights[static_cast<size_t>(team->rank())] = values_of(process);
  }));
  const Tensor before = seeded_normal({2}, 3);
  EXPECT_TRUE(identical(shared.weights[0][2], shared.weights[1][2]));
  EXPECT_LT(shared.weights[0][2].abs().sum().item<float>(), before.abs().sum().item<float>());

  const auto messages = run_team(2, [&](const TeamOf& team) {
    Process process(configured(8), 0, seed, team);
    process.steps(1);
    process.spoil = [&](const Tensor& loss) { return loss + process.weights[2].second.square().sum(); };
    process.steps(1);
  });
  for (const auto& message : messages) EXPECT_NE(message.find("parameter unused: expected no gradient"), std::string::npos) << message;
}

TEST(TeamOfRanks, DivergesOnAllRanksAtOnce) {
  const TemporaryFolder folder;
  const auto messages = run_team(2, [&](const TeamOf& team) {
    Process process(configured(8), 0, seed, team);
    process.steps(3);
    if (team->rank() == 1) process.spoil = [](const Tensor& loss) { return loss * std::nan(""); };
    process.trainer->run(folder.path(), {});
  });
  EXPECT_NE(messages[0].find("step 4: training diverged"), std::string::npos) << messages[0];
  EXPECT_EQ(messages[1], messages[0]);
}

TEST(TeamOfRanks, LeavesNoRankWaitingForOneThatFailed) {
  const TemporaryFolder folder;
  TrainerConfig config = configured(8);
  config.validate_every = 5;
  const auto messages = run_team(2, [&](const TeamOf& team) {
    Process process(config, 0, seed, team);
    TrainerHooks hooks;
    hooks.on_validate = [](int64_t) { throw Error("the disk is full"); };
    process.trainer->run(folder.path(), hooks);
  });
  EXPECT_EQ(messages[0], "the disk is full");
  EXPECT_EQ(messages[1], "rank 1 of 2 ends because another rank has failed, whose message says why");
  EXPECT_NE(run_team(2, [&](const TeamOf& team) { Process(config, 0, seed, team).trainer->load(folder.path() / "none"); })[1], "");
}

TEST(TeamOfRanks, RefusesWhatDoesNotFit) {
  const auto message = [](int64_t ranks, const std::function<void(const TeamOf&)>& work) { return run_team(ranks, work)[1]; };
  EXPECT_EQ(message(2, [](const TeamOf& team) { Process(configured(8), 0, seed + static_cast<uint64_t>(team->rank()), team); }),
            "seed: expected 11 as on rank 0, got 12 on rank 1");
  EXPECT_EQ(message(3, [](const TeamOf& team) { Process(configured(8, 3), 0, seed, team); }),
            "batch: expected at least 9 sequences, accumulate x cpu_workers = 3 for each of 3 ranks, got 8");
  EXPECT_EQ(message(2,
                    [](const TeamOf& team) {
                      Process model(configured(8));
                      Trainer(configured(8), model.weights, {}, *model.loader, seed, at::kCPU, team);
                    }),
            "loader: expected the rows of rank 1 of 2, got those of rank 0 of 1");
}

TEST(Alone, AnswersWithoutWaiting) {
  const auto team = alone();
  const Tensor value = at::ones({2});
  team->sum({value});
  team->broadcast({value}, 0);
  team->barrier();
  EXPECT_TRUE(identical(value, at::ones({2})));
  EXPECT_TRUE(team->alone() && team->first() && team->any(true));
  EXPECT_FALSE(team->any(false));
  EXPECT_EQ(error_of([&] { team->together([] { throw Error("no"); }); }), "no");
}

}  // namespace
}  // namespace df::test
