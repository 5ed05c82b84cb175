// SPDX-License-Identifier: MIT
#include "diffusion_forcing/training/checkpoint.hpp"

#include <ATen/ATen.h>
#include <sys/wait.h>
#include <torch/nn/module.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "support/support.hpp"

namespace df {
namespace {

using test::error_of;
using test::identical;
using test::TemporaryFolder;
using ::testing::AssertionResult;

AssertionResult contains(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "'" << part << "' is not in: " << text;
}

NamedTensors weights(uint64_t seed) {
  return {
      {"a.weight", seeded_normal({4, 3}, seed)}, {"a.bias", seeded_normal({4}, seed + 1)}, {"b.weight", seeded_normal({2, 2}, seed + 2)}};
}

Checkpoint checkpoint(int64_t step, uint64_t seed) {
  return {step, weights(seed), weights(seed + 10), {{"a.weight.exp_avg", seeded_normal({4, 3}, seed + 20)}}, {{"seed", "7"}}};
}

void expect_same(const NamedTensors& a, const NamedTensors& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(identical(a[i].second, b[i].second)) << a[i].first;
}

struct Layer : torch::nn::Module {
  Layer() {
    register_parameter("weight", at::ones({2, 2}));
    register_buffer("table", at::zeros({3}));
  }
};

TEST(Weights, NamedTensorsHoldsParametersAndBuffers) {
  struct Model : torch::nn::Module {
    Model() { register_module("layer", std::make_shared<Layer>()); }
  } model;
  const auto all = named_tensors(model);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].first, "layer.weight");
  EXPECT_TRUE(all[0].second.requires_grad());
  EXPECT_EQ(all[1].first, "layer.table");
}

TEST(Weights, RoundTripInPlaceWithConversion) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "w.safetensors";
  const auto saved = weights(1);
  save_weights(path, saved, {{"who", "test"}});
  auto loaded = weights(2);
  loaded[1].second = loaded[1].second.to(at::kDouble);
  const auto held = loaded[0].second;  // the same storage must be filled
  EXPECT_EQ(load_weights(path, loaded).at("who"), "test");
  EXPECT_TRUE(identical(held, saved[0].second));
  EXPECT_EQ(loaded[1].second.scalar_type(), at::kDouble);
  EXPECT_TRUE(identical(loaded[1].second.to(at::kFloat), saved[1].second));
}

TEST(Weights, LoadingListsEveryFaultAndCopiesNothing) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "w.safetensors";
  save_weights(path, {{"a.weight", at::ones({4, 3})}, {"a.bias", at::ones({5})}, {"x", at::ones({1})}, {"y", at::ones({1})}}, {});
  auto into = weights(2);
  into.emplace_back("c.weight", at::zeros({1}));
  const auto before = into[0].second.clone();
  const auto message = error_of([&] { load_weights(path, into); });
  EXPECT_TRUE(contains(message, path.string()));
  EXPECT_TRUE(contains(message, "missing: b.weight, c.weight"));
  EXPECT_TRUE(contains(message, "unexpected: x, y"));
  EXPECT_TRUE(contains(message, "a.bias (expected [4], got [5])"));
  EXPECT_TRUE(identical(into[0].second, before));
}

TEST(Weights, TwoTensorsOfOneNameAreRefused) {
  const TemporaryFolder folder;
  EXPECT_TRUE(contains(error_of([&] {
                         save_weights(folder.path() / "w.safetensors", {{"a", at::ones({1})}, {"a", at::ones({1})}}, {});
                       }),
                       "two tensors are named a"));
}

TEST(Checkpoint, RoundTrip) {
  const TemporaryFolder run;
  const auto saved = checkpoint(30, 1);
  const auto folder = save_checkpoint(run.path(), saved);
  EXPECT_EQ(folder, run.path() / "checkpoints" / "step_30");
  auto loaded = checkpoint(0, 5);
  loaded.trainer.clear();
  loaded.metadata.clear();
  load_checkpoint(folder, loaded);
  EXPECT_EQ(loaded.step, 30);
  EXPECT_EQ(loaded.metadata, saved.metadata);
  expect_same(loaded.model, saved.model);
  expect_same(loaded.ema, saved.ema);
  ASSERT_EQ(loaded.trainer.size(), 1u);
  EXPECT_TRUE(identical(loaded.trainer.at("a.weight.exp_avg"), saved.trainer.at("a.weight.exp_avg")));
  EXPECT_EQ(inspect_checkpoint(folder).step, 30);
  EXPECT_EQ(inspect_checkpoint(folder).metadata.at("seed"), "7");
}

TEST(Checkpoint, AveragesThatAreNotThereAreAnError) {
  const TemporaryFolder run;
  auto saved = checkpoint(1, 1);
  saved.ema.clear();
  const auto folder = save_checkpoint(run.path(), saved);
  EXPECT_FALSE(fs::exists(folder / "ema.safetensors"));
  auto loaded = checkpoint(0, 5);
  EXPECT_TRUE(contains(error_of([&] { load_checkpoint(folder, loaded); }), "ema.safetensors"));
  loaded.ema.clear();
  load_checkpoint(folder, loaded);
  expect_same(loaded.model, saved.model);
}

TEST(Checkpoint, DamageNamesTheFile) {
  for (const std::string name : {"model.safetensors", "ema.safetensors", "trainer.safetensors"}) {
    const TemporaryFolder run;
    const auto folder = save_checkpoint(run.path(), checkpoint(3, 1));
    const auto path = folder / name;
    const std::string whole = read_file(path);
    auto loaded = checkpoint(0, 5);
    const auto before = loaded.model[0].second.clone();
    const auto load = [&] { load_checkpoint(folder, loaded); };

    std::string flipped = whole;
    flipped[whole.size() - 3] ^= 1;
    write_atomically(path, flipped);
    EXPECT_TRUE(contains(error_of(load), path.string() + ": damaged: expected CRC-32"));

    write_atomically(path, whole.substr(0, whole.size() - 1));
    EXPECT_TRUE(contains(error_of(load), path.string() + ": damaged: expected " + std::to_string(whole.size()) + " bytes"));

    fs::remove(path);
    EXPECT_TRUE(contains(error_of(load), path.string() + ": missing"));
    EXPECT_TRUE(identical(loaded.model[0].second, before)) << "a damaged checkpoint must change nothing";
  }
}

TEST(Checkpoint, FaultyManifest) {
  const TemporaryFolder run;
  const auto folder = save_checkpoint(run.path(), checkpoint(3, 1));
  const auto path = folder / "manifest.json";
  auto loaded = checkpoint(0, 5);
  const auto load = [&] { load_checkpoint(folder, loaded); };
  std::string text = read_file(path);
  const auto at = text.find("\"format\": 1");
  ASSERT_NE(at, std::string::npos);
  write_atomically(path, text.substr(0, at) + "\"format\": 9" + text.substr(at + 11));
  EXPECT_TRUE(contains(error_of(load), "expected version 1, got 9"));
  write_atomically(path, text.substr(0, text.size() / 2));
  EXPECT_TRUE(contains(error_of(load), path.string() + ": damaged"));
  write_atomically(path, "{\"format\": 1, \"step\": 3, \"metadata\": {}, \"files\": {}}");
  EXPECT_TRUE(contains(error_of(load), "does not list model.safetensors"));
  fs::remove(path);
  EXPECT_TRUE(contains(error_of(load), "manifest.json is missing"));
}

TEST(Checkpoint, LatestIgnoresWhatIsNotWhole) {
  const TemporaryFolder run;
  EXPECT_FALSE(latest_checkpoint(run.path()));
  save_checkpoint(run.path(), checkpoint(9, 1));
  save_checkpoint(run.path(), checkpoint(100, 1));  // newer than 9 by number, not by name
  const auto folder = run.path() / "checkpoints";
  fs::create_directories(folder / "step_200");  // without a manifest
  fs::create_directories(folder / ".partial-step_300");
  write_atomically(folder / ".partial-step_300" / "manifest.json", "{}");
  fs::create_directories(folder / "step_4x");
  write_atomically(folder / "step_4x" / "manifest.json", "{}");
  EXPECT_EQ(latest_checkpoint(run.path()).value(), folder / "step_100");
}

TEST(Checkpoint, PruneKeepsTheNewest) {
  const TemporaryFolder run;
  for (const int64_t step : {9, 10, 100, 20}) save_checkpoint(run.path(), checkpoint(step, 1));
  const auto folder = run.path() / "checkpoints";
  prune_checkpoints(run.path(), 0);
  EXPECT_TRUE(fs::exists(folder / "step_9"));
  prune_checkpoints(run.path(), 2);
  EXPECT_TRUE(fs::exists(folder / "step_100") && fs::exists(folder / "step_20"));
  EXPECT_FALSE(fs::exists(folder / "step_10") || fs::exists(folder / "step_9"));
}

TEST(Checkpoint, SavingAgainReplacesAndSweepsUp) {
  const TemporaryFolder run;
  save_checkpoint(run.path(), checkpoint(5, 1));
  fs::create_directories(run.path() / "checkpoints" / ".partial-step_4");
  const auto folder = save_checkpoint(run.path(), checkpoint(5, 2));
  auto loaded = checkpoint(0, 9);
  load_checkpoint(folder, loaded);
  expect_same(loaded.model, weights(2));
  size_t entries = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(folder.parent_path())) ++entries;
  EXPECT_EQ(entries, 1u);
}

TEST(Checkpoint, ThatCannotBeSavedLeavesTheOthers) {
  const TemporaryFolder run;
  save_checkpoint(run.path(), checkpoint(5, 1));
  auto bad = checkpoint(6, 1);
  bad.model.push_back(bad.model[0]);  // fails after the folder was begun
  EXPECT_TRUE(contains(error_of([&] { save_checkpoint(run.path(), bad); }), "step_6: checkpoint cannot be saved"));
  EXPECT_EQ(latest_checkpoint(run.path()).value().filename(), "step_5");
  EXPECT_FALSE(fs::exists(run.path() / "checkpoints" / ".partial-step_6"));
}

// Killed at a random moment of saving over and over, a run always has a checkpoint that loads.
TEST(Checkpoint, SurvivesKill) {
  const TemporaryFolder run;
  save_checkpoint(run.path(), checkpoint(1, 1));
  for (int trial = 0; trial < 12; ++trial) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      for (int64_t step = 1;; ++step) {
        save_checkpoint(run.path(), checkpoint(1 + step % 3, static_cast<uint64_t>(step)));
        prune_checkpoints(run.path(), 2);
      }
    }
    ::usleep(static_cast<useconds_t>(3000 + 1700 * trial));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    const auto latest = latest_checkpoint(run.path());
    ASSERT_TRUE(latest);
    auto loaded = checkpoint(0, 9);
    ASSERT_NO_THROW(load_checkpoint(*latest, loaded)) << *latest;
  }
}

}  // namespace
}  // namespace df
