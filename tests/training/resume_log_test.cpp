// SPDX-License-Identifier: MIT
// A training that is killed at any moment and resumed has the log of one that was left alone.
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/training/metric_log.hpp"
#include "support/support.hpp"
#include "training/process.hpp"

namespace df::test {
namespace {

struct Killed {};

TrainerConfig configured() {
  TrainerConfig config = small();
  config.log_every = 2;
  config.checkpoint_every = 4;
  config.validate_every = 4;
  return config;
}

// Trains in `run`, from its newest checkpoint if there is one. Before and after each line of the log there is a moment to be killed at;
// returns how many of them came. kill: the number of the moment, from 1; 0: none. stop: the step after which training is asked to stop.
int train(const fs::path& run, int kill = 0, int64_t stop = 0) {
  const auto checkpoint = latest_checkpoint(run);
  const int64_t first = checkpoint ? inspect_checkpoint(*checkpoint).step : 0;
  Process process(configured(), first);
  if (checkpoint) process.trainer->load(*checkpoint);
  fs::create_directories(run);
  MetricLog log(run, first);
  int moments = 0;
  const auto moment = [&] {
    if (++moments == kill) throw Killed{};
  };
  TrainerHooks hooks;
  hooks.on_report = [&](const StepReport& report) {
    moment();
    log.scalars(report.step, {{"train/loss", report.loss}});
    moment();
  };
  hooks.on_validate = [&](int64_t step) {
    moment();
    log.scalars(step, {{"val/loss", process.weights[0].second.abs().sum().item<double>()}});
    moment();
  };
  hooks.validated = [&](int64_t step) { return log.has(step, "val/loss"); };
  process.trainer->run(run, hooks, [&] { return process.trainer->steps_done() == stop; });
  return moments;
}

// (step, name) -> values, in the order of the file.
std::map<std::pair<int64_t, std::string>, std::vector<double>> lines_of(const fs::path& run) {
  std::map<std::pair<int64_t, std::string>, std::vector<double>> lines;
  std::istringstream file(read_file(run / "metrics.jsonl"));
  for (std::string line; std::getline(file, line);) {
    const auto json = nlohmann::json::parse(line);
    for (const char* name : {"train/loss", "val/loss"})
      if (json.contains(name)) lines[{json["step"].get<int64_t>(), name}].push_back(json[name].get<double>());
  }
  return lines;
}

TEST(ResumedLog, HasEachLineOnceAfterAKillAtAnyMoment) {
  const TemporaryFolder folder;
  const int moments = train(folder.path() / "whole");
  const auto expected = lines_of(folder.path() / "whole");
  ASSERT_EQ(expected.size(), 8u);  // reports at 2, 4, .. 10, validations at 4, 8 and 10
  for (int kill = 1; kill <= moments; ++kill) {
    const fs::path run = folder.path() / std::to_string(kill);
    EXPECT_THROW(train(run, kill), Killed);
    train(run);
    EXPECT_EQ(lines_of(run), expected) << "killed at moment " << kill;
  }
}

TEST(ResumedLog, HasTheValidationOfTheStepThatTrainingStoppedAt) {
  const TemporaryFolder folder;
  train(folder.path() / "whole");
  train(folder.path() / "parts", 0, 8);
  EXPECT_EQ(lines_of(folder.path() / "parts").count({8, "val/loss"}), 0u) << "who asks to stop does not want to wait";
  train(folder.path() / "parts");
  train(folder.path() / "parts");  // a finished run has nothing to make up for
  EXPECT_EQ(lines_of(folder.path() / "parts"), lines_of(folder.path() / "whole"));
}

}  // namespace
}  // namespace df::test
