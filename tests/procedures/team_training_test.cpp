// SPDX-License-Identifier: MIT
// train() by a team of ranks, and what it makes up for after a process was killed.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/core/safetensors.hpp"
#include "procedures/own_parts.hpp"
#include "support/support.hpp"
#include "support/thread_team.hpp"

namespace df::test {
namespace {

fs::path trained(const fs::path& out, int64_t steps, bool resume = false, const std::shared_ptr<const Team>& team = alone()) {
  Parts parts = make_own_parts();
  TrainingConfig training = make_own_training(steps);
  training.trainer.checkpoint_every = 2;
  return train(parts, training, {.out = out, .resume = resume, .device = "cpu", .team = team});
}

std::vector<nlohmann::json> lines_of(const fs::path& run) {
  std::vector<nlohmann::json> lines;
  std::istringstream file(read_file(run / "metrics.jsonl"));
  for (std::string line; std::getline(file, line);) lines.push_back(nlohmann::json::parse(line));
  return lines;
}

std::set<std::string> files_of(const fs::path& run) {
  std::set<std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(run)) {
    const std::string name = fs::relative(entry.path(), run).string();
    files.insert(name.substr(0, name.find("events.out.tfevents.") == 0 ? 20 : std::string::npos));
  }
  return files;
}

TEST(TrainingByATeam, WritesTheRunFolderOfOneProcess) {
  const TemporaryFolder folder;
  const fs::path whole = trained(folder.path() / "whole", 6), shared = folder.path() / "shared";
  for (const auto& [ranks, steps] : {std::pair<int64_t, int64_t>{2, 4}, {3, 6}})
    for (const auto& message : run_team(ranks, [&](const auto& team) { trained(shared, steps, steps > 4, team); })) EXPECT_EQ(message, "");
  EXPECT_EQ(files_of(shared), files_of(whole));
  const auto expected = lines_of(whole), got = lines_of(shared);
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i)
    for (const char* key : {"train/loss", "val/loss", "val/x0_error/0.50"}) {
      ASSERT_EQ(got[i].contains(key), expected[i].contains(key)) << got[i];
      if (got[i].contains(key)) {
        EXPECT_NEAR(got[i][key].get<double>(), expected[i][key].get<double>(), 1e-5) << got[i];
      }
    }
  const auto weights = read_safetensors(whole / "checkpoints/step_6/ema.safetensors").tensors;
  for (const auto& [name, tensor] : read_safetensors(shared / "checkpoints/step_6/ema.safetensors").tensors)
    EXPECT_TRUE(close(tensor, weights.at(name), 1e-5)) << name;
}

TEST(TrainingByATeam, EndsOnAllRanksWhereTheFolderIsTaken) {
  const TemporaryFolder folder;
  write_atomically(folder.path() / "mine", "mine");
  const auto messages = run_team(2, [&](const auto& team) { trained(folder.path(), 4, false, team); });
  for (const auto& message : messages) EXPECT_NE(message.find("expected a new or empty folder"), std::string::npos) << message;
}

// The checkpoint of a step is saved before the step is validated.
TEST(ResumedTraining, ValidatesFirstWhereItWasKilledBeforeTheValidation) {
  const TemporaryFolder folder;
  const fs::path run = trained(folder.path() / "run", 4);
  const std::string whole = read_file(run / "metrics.jsonl");
  const auto expected = lines_of(run);
  ASSERT_TRUE(expected.back().contains("val/loss"));
  write_atomically(run / "metrics.jsonl", whole.substr(0, whole.rfind('\n', whole.size() - 2) + 20));  // cut within the last line
  trained(run, 4, /*resume=*/true);
  const auto got = lines_of(run);
  ASSERT_EQ(got.size(), expected.size());
  EXPECT_EQ(got.back()["step"], 4);
  EXPECT_EQ(got.back()["val/loss"], expected.back()["val/loss"]);
  trained(run, 4, /*resume=*/true);
  EXPECT_EQ(lines_of(run).size(), expected.size()) << "it was there";
}

}  // namespace
}  // namespace df::test
