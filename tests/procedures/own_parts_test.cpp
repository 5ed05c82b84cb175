// SPDX-License-Identifier: MIT
// Training from parts of one's own: the run folder, resuming, loading, validating, sampling.
#include "procedures/own_parts.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/core/safetensors.hpp"
#include "diffusion_forcing/procedures/procedures.hpp"
#include "support/support.hpp"

namespace df {
namespace {

using test::make_own_parts;
using test::make_own_training;

class OwnParts : public ::testing::Test {
 protected:
  fs::path train(const std::string& name, int64_t steps, bool resume = false) const {
    Parts parts = make_own_parts();
    return df::train(parts, make_own_training(steps), {.out = folder_.path() / name, .resume = resume, .device = "cpu"});
  }
  test::TemporaryFolder folder_;
};

TEST_F(OwnParts, ResumedTrainingEqualsUninterruptedTraining) {
  const fs::path whole = train("whole", 6), parts = train("parts", 3);
  train("parts", 6, /*resume=*/true);
  for (const char* file : {"model.safetensors", "ema.safetensors", "trainer.safetensors"}) {
    const auto expected = read_safetensors(whole / "checkpoints/step_6" / file).tensors;
    const auto got = read_safetensors(parts / "checkpoints/step_6" / file).tensors;
    ASSERT_EQ(expected.size(), got.size());
    for (const auto& [name, tensor] : expected) EXPECT_TRUE(test::identical(tensor, got.at(name))) << file << " " << name;
  }
}

TEST_F(OwnParts, TheRunFolderIsThatOfDfTrain) {
  const fs::path run = train("run", 3);
  for (const char* file :
       {"config.yaml", "run.json", "metrics.jsonl", "checkpoints/step_3/model.safetensors", "checkpoints/step_3/ema.safetensors",
        "checkpoints/step_3/trainer.safetensors", "checkpoints/step_3/manifest.json"})
    EXPECT_TRUE(fs::exists(run / file)) << file;
  int64_t events = 0;
  for (const auto& entry : fs::directory_iterator(run)) events += entry.path().filename().string().rfind("events.out.tfevents.", 0) == 0;
  EXPECT_EQ(events, 1);
  const std::string metrics = read_file(run / "metrics.jsonl");
  for (const char* key : {"train/loss", "train/learning_rate", "val/loss", "val/x0_error/0.50"})
    EXPECT_NE(metrics.find(key), std::string::npos) << key;
  const std::string config = read_file(run / "config.yaml");
  EXPECT_EQ(config.rfind("name: waves ", 0), 0u) << config;
  EXPECT_EQ(config.find("\nmodel:"), std::string::npos) << config;
  const auto json = nlohmann::json::parse(read_file(run / "run.json"));
  EXPECT_EQ(json.at("own_parts").at("data"), "waves of the tests");
  EXPECT_EQ(json.at("own_parts").at("model"), "136 parameters, latent [8]");
  EXPECT_EQ(json.at("data").at("tokens"), 6);
}

TEST_F(OwnParts, WeightsAreLoadedValidatedAndSampled) {
  const fs::path run = train("run", 4);
  Parts parts = make_own_parts();
  EXPECT_EQ(load_weights(parts, run), run / "checkpoints/step_4/ema.safetensors");
  EXPECT_FALSE(parts.model->is_training());
  const auto averaged = read_safetensors(run / "checkpoints/step_4/ema.safetensors").tensors;
  for (const auto& item : parts.model->named_parameters()) EXPECT_TRUE(test::identical(item.value().detach(), averaged.at(item.key())));

  const auto values = validation_metrics(parts, make_own_training(4));
  EXPECT_EQ(values, validation_metrics(parts, make_own_training(4)));
  EXPECT_FALSE(parts.model->is_training());
  const std::string metrics = read_file(run / "metrics.jsonl");
  EXPECT_NE(metrics.find("\"val/loss\":" + nlohmann::json(values.at("val/loss")).dump()), std::string::npos) << metrics;

  RolloutInput input;
  input.tokens = 5;
  input.z = parts.model->initial_latent(2, {});
  std::vector<Tensor> tokens;
  rollout(*parts.model, parts.diffusion, parts.sampling, input, [&](int64_t, const Tensor& x) { tokens.push_back(x); });
  ASSERT_EQ(tokens.size(), 5u);
  EXPECT_TRUE(at::stack(tokens).isfinite().all().item<bool>());

  EXPECT_EQ(load_weights(parts, run, /*raw=*/true), run / "checkpoints/step_4/model.safetensors");
  parts.train = std::make_shared<test::Waves>(2);
  EXPECT_EQ(test::error_of([&] { load_weights(parts, run); }),
            (run / "run.json").string() + ": data.token_shape: [4] in the run, [2] here");
}

TEST_F(OwnParts, ProgramsSayWhoCanLoadSuchARun) {
  const fs::path run = train("run", 1);
  EXPECT_EQ(test::error_of([&] { load_trained(run, {}, "cpu"); }),
            run.string() +
                ": was trained by a program of its own (data: waves of the tests; model: 136 parameters, latent [8]), which alone can make "
                "its model again: load it there with df::load_weights(parts, run)");
}

TEST_F(OwnParts, WhatDoesNotFitIsToldBeforeTraining) {
  const auto error = [&](const std::function<void(Parts&, TrainingConfig&)>& change) {
    Parts parts = make_own_parts();
    TrainingConfig training = make_own_training(2);
    change(parts, training);
    return test::error_of([&] { df::train(parts, training, {.out = folder_.path() / "none", .device = "cpu"}); });
  };
  EXPECT_EQ(error([](Parts& parts, TrainingConfig&) { parts.train = std::make_shared<test::Waves>(3); }),
            "model: expected tokens of [3] as the data set has them, got [4]");
  EXPECT_EQ(error([](Parts&, TrainingConfig& training) { training.trainer.batch = 0; }), "training.batch: expected at least 1, got 0");
  EXPECT_EQ(error([](Parts& parts, TrainingConfig&) { parts.sampling.steps = 21; }),
            "sampling.steps: expected 1 to 20 (diffusion.levels), got 21");
  EXPECT_EQ(error([](Parts& parts, TrainingConfig&) { parts.name = "a/b"; }).rfind("name: expected a folder name", 0), 0u);
  EXPECT_FALSE(fs::exists(folder_.path() / "none"));
}

TEST_F(OwnParts, ADryRunTakesTwoStepsAndWritesNothing) {
  Parts parts = make_own_parts();
  const DryRun cost = dry_run(parts, make_own_training(2), "cpu");
  EXPECT_EQ(cost.parameters, 136);
  EXPECT_EQ(cost.frames_per_step, 4 * 6 * 2);
  EXPECT_GT(cost.loss, 0.0);
}

TEST_F(OwnParts, AScheduleFileTravelsWithTheRun) {
  const fs::path file = folder_.path() / "mine.csv", run = folder_.path() / "run";
  write_atomically(file, "20,20\n10,20\n0,10\n0,0\n");
  Parts parts = make_own_parts();
  parts.sampling.schedule = file.string();
  df::train(parts, make_own_training(2), {.out = run, .device = "cpu"});
  EXPECT_EQ(read_file(run / "mine.csv"), read_file(file));
  EXPECT_NE(read_file(run / "config.yaml").find("schedule: mine.csv"), std::string::npos);
  EXPECT_EQ(load_experiment(run / "config.yaml").sampling.schedule, (run / "mine.csv").string());  // from any working directory
  // The same file is no change; another one under its name is.
  df::train(parts, make_own_training(3), {.out = run, .resume = true, .device = "cpu"});
  write_atomically(file, "20,20\n0,20\n0,0\n");
  const std::string error = test::error_of([&] { df::train(parts, make_own_training(4), {.out = run, .resume = true, .device = "cpu"}); });
  EXPECT_NE(error.find("sampling.schedule: " + (run / "mine.csv").string() + " (other content) there, " + file.string() + " here"),
            std::string::npos)
      << error;
}

}  // namespace
}  // namespace df
