// SPDX-License-Identifier: MIT
// What a resume may change, what it refuses, and what run.json keeps.
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/procedures/procedures.hpp"
#include "procedures/forecast.hpp"
#include "procedures/own_parts.hpp"
#include "procedures/resume_rules.hpp"
#include "procedures/run_folder.hpp"
#include "support/support.hpp"

namespace df {
namespace {

class Resume : public ::testing::Test {
 protected:
  using Change = std::function<void(Parts&, TrainingConfig&)>;
  // Two steps, and from there to four with something changed.
  void start() { go(2, false, false, {}); }
  void go(int64_t steps, bool resume, bool force, const Change& change) {
    Parts parts = test::make_own_parts();
    TrainingConfig training = test::make_own_training(steps);
    if (change) change(parts, training);
    train(parts, training, {.out = run_, .resume = resume, .force = force, .device = "cpu"});
  }
  std::string refusal(const Change& change) {
    return test::error_of([&] { go(4, true, false, change); });
  }
  nlohmann::json json() const { return nlohmann::json::parse(read_file(run_ / "run.json")); }
  test::TemporaryFolder folder_;
  fs::path run_ = folder_.path() / "run";
};

TEST_F(Resume, TheLearningRateMayChangeAndIsRecorded) {
  start();
  go(4, true, false, [](Parts&, TrainingConfig& training) {
    training.trainer.optimizer.learning_rate = 0.005;
    training.trainer.optimizer.decay = Decay::cosine;
    training.trainer.log_every = 2;
  });
  const auto changes = json().at("changes");
  ASSERT_EQ(changes.size(), 4u) << changes;
  EXPECT_EQ(changes[1],
            (nlohmann::json{{"step", 2}, {"key", "training.learning_rate"}, {"there", "0.01"}, {"here", "0.005"}, {"forced", false}}));
  EXPECT_EQ(changes[3].at("key"), "training.steps");
  EXPECT_NE(read_file(run_ / "config.yaml").find("learning_rate: 0.005"), std::string::npos);
}

TEST_F(Resume, WhatTheRunLearnsIsRefusedWithTheTwoWaysOut) {
  start();
  const auto change = [](Parts& parts, TrainingConfig& training) {
    training.trainer.batch = 8;
    parts.diffusion.config.loss = Space::x0;
  };
  EXPECT_EQ(refusal(change),
            (run_ / "config.yaml").string() +
                ": the run has another configuration: diffusion.loss: eps there, x0 here; training.batch: 4 there, 8 here. "
                "Either leave these keys as they are there (df-train --resume --out " +
                run_.string() + "), or add --force to go on with the new values, which run.json will record");
  EXPECT_FALSE(json().contains("changes"));
  go(4, true, true, change);
  const auto changes = json().at("changes");
  EXPECT_EQ(changes[0].at("key"), "diffusion.loss");
  EXPECT_EQ(changes[0].at("forced"), true);
  EXPECT_NE(read_file(run_ / "config.yaml").find("batch: 8"), std::string::npos);
}

TEST_F(Resume, SamplingIsNotRewritten) {
  start();
  const std::string before = read_file(run_ / "config.yaml");
  const std::string error = refusal([](Parts& parts, TrainingConfig&) { parts.sampling.steps = 2; });
  EXPECT_NE(error.find("sampling.steps: 4 there, 2 here"), std::string::npos) << error;
  EXPECT_NE(error.find("df-sample --checkpoint " + run_.string() + " --set sampling.steps=2"), std::string::npos) << error;
  EXPECT_EQ(read_file(run_ / "config.yaml"), before);
}

TEST_F(Resume, OtherDataOfOnesOwnAreRefused) {
  start();
  EXPECT_NE(refusal([](Parts& parts, TrainingConfig&) {
              parts.train = std::make_shared<test::Waves>(5);
            }).find("data.token_shape: [4] there, [5] here"),
            std::string::npos);
}

TEST_F(Resume, AnEditOfConfigYamlIsNoticed) {
  start();
  const fs::path config = run_ / "config.yaml";
  std::string text = read_file(config);
  text.replace(text.find("weight_decay: 0.002"), 19, "weight_decay: 0.003");
  write_atomically(config, text);
  const auto same = [](Parts&, TrainingConfig& training) { training.trainer.optimizer.weight_decay = 0.003; };
  EXPECT_EQ(refusal(same),
            config.string() +
                ": was edited after the run wrote it (run.json has its checksum). Either undo the edit and give changes with "
                "--set, or add --force to go on with the file as it is now, which run.json will record");
  go(4, true, true, same);
  EXPECT_EQ(json().at("changes")[0].at("key"), "config.yaml");
  go(5, true, false, same);  // the checksum is that of the file again
}

TEST_F(Resume, FieldsOfTheUserInRunJsonStay) {
  start();
  auto edited = nlohmann::ordered_json::parse(read_file(run_ / "run.json"));
  edited["note"] = "the blue one";
  edited["data"]["camera"] = 7;
  write_atomically(run_ / "run.json", edited.dump());
  go(3, true, false, {});
  EXPECT_EQ(json().at("note"), "the blue one");
  EXPECT_EQ(json().at("data").at("camera"), 7);
}

TEST_F(Resume, DamageOfRunJsonIsNamed) {
  start();
  const auto error_with = [&](const std::string& key, const nlohmann::ordered_json& value) {
    auto changed = nlohmann::ordered_json::parse(read_file(run_ / "run.json"));
    if (value.is_null())
      changed["data"].erase(key);
    else
      changed["data"][key] = value;
    write_atomically(folder_.path() / "other/run.json", changed.dump());
    return test::error_of([&] { read_data_spec(folder_.path() / "other"); });
  };
  const std::string file = (folder_.path() / "other/run.json").string();
  EXPECT_EQ(error_with("tokens", "nine"), file + ": data.tokens: expected an integer, got \"nine\"");
  EXPECT_EQ(error_with("tokens", 1.5), file + ": data.tokens: expected an integer, got 1.5");
  EXPECT_EQ(error_with("token_shape", {1, "x"}), file + ": data.token_shape: expected a list, each entry an integer, got [1,\"x\"]");
  EXPECT_EQ(error_with("mean", nullptr), file + ": data.mean: expected a number, got nothing");
  auto earlier = nlohmann::ordered_json::parse(read_file(run_ / "run.json"));
  earlier["data"].erase("frame_std");  // absent in runs of earlier versions
  write_atomically(folder_.path() / "other/run.json", earlier.dump());
  EXPECT_EQ(read_data_spec(folder_.path() / "other")->tokens, 6);
}

TEST(ResumeRules, PathsOfDataMayBeSpeltOtherwise) {
  const test::TemporaryFolder folder;
  const std::string path = folder.path().string();
  EXPECT_TRUE(same_value("data.path", path, path + "/../" + folder.path().filename().string()));
  EXPECT_FALSE(same_value("data.path", path, path + "/.."));
  EXPECT_FALSE(same_value("training.batch", "4", "8"));
  EXPECT_EQ(resume_rule("training.cpu_workers"), ResumeRule::rounding);
  EXPECT_EQ(resume_rule("planning.horizon"), ResumeRule::shown);
  EXPECT_EQ(resume_rule("data.path"), ResumeRule::fixed);
}

TEST(Forecast, AWarmUpThatNeverEndsIsTold) {
  TrainerConfig config;
  config.steps = 100;
  config.optimizer.warmup = 150;
  EXPECT_EQ(warmup_warning(config),
            "training.warmup: the learning rate rises for 150 steps, but the run ends after 100: it never reaches training.learning_rate "
            "0.0002. A tenth of the steps is usual: training.warmup=10");
  config.optimizer.warmup = 100;
  EXPECT_FALSE(warmup_warning(config).has_value());
}

TEST(Forecast, ATrainingOfHoursIsToldOnce) {
  using Clock = std::chrono::steady_clock;
  const auto at_step = [](int64_t n, double seconds) {
    return Clock::time_point() + std::chrono::milliseconds(static_cast<int64_t>(1000 * seconds * static_cast<double>(n)));
  };
  TimeForecast slow(100, 10100, "a CPU"), fast(0, 1000, "a CPU");
  for (int64_t n = 101; n < 108; ++n) EXPECT_FALSE(slow.after_step(n, at_step(n, 2.0)).has_value()) << n;
  const auto warning = slow.after_step(108, at_step(108, 2.0));
  ASSERT_TRUE(warning.has_value());
  EXPECT_EQ(warning->rfind("a step takes 2.00 s on this machine (a CPU), so that the 9992 steps left will take about 5.6 hours. ", 0), 0u)
      << *warning;
  EXPECT_FALSE(slow.after_step(109, at_step(109, 2.0)).has_value());
  for (int64_t n = 1; n < 50; ++n) EXPECT_FALSE(fast.after_step(n, at_step(n, 0.5)).has_value());
}

}  // namespace
}  // namespace df
