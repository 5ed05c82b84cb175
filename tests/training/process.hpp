// SPDX-License-Identifier: MIT
// A small training: data, model, loader and trainer of one process, and all that it saves.
#pragma once

#include <ATen/ATen.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/data/loader.hpp"
#include "diffusion_forcing/training/trainer.hpp"
#include "support/support.hpp"

namespace df::test {

inline constexpr int64_t tokens = 3, width = 5;
inline constexpr uint64_t seed = 11;

class Vectors final : public Dataset {
 public:
  DataSpec spec() const override { return {}; }
  int64_t size() const override { return 40; }
  Batch get(int64_t index, int64_t) const override {
    ++reads;
    Batch sample;
    sample.x = seeded_normal({tokens, width}, static_cast<uint64_t>(index));
    return sample;
  }
  std::string describe() const override { return "vectors"; }
  mutable std::atomic<int64_t> reads = 0;
};

inline TrainerConfig small() {
  TrainerConfig config;
  config.steps = 10;
  config.batch = 8;
  config.loader_workers = 0;
  config.ema = 0.9;
  config.log_every = 2;
  config.validate_every = 0;
  config.checkpoint_every = 0;
  config.optimizer.learning_rate = 1e-2;
  config.optimizer.warmup = 4;
  return config;
}

// One process's worth of objects: model, loader, trainer.
struct Process {
  NamedTensors weights;
  std::shared_ptr<Vectors> data = std::make_shared<Vectors>();
  std::unique_ptr<Loader> loader;
  std::unique_ptr<Trainer> trainer;
  std::function<Tensor(const Tensor& loss)> spoil;  // of the objective's loss
  std::function<void()> on_loss;                    // called on the thread that computes a loss

  explicit Process(const TrainerConfig& config, int64_t first = 0, uint64_t run_seed = seed, std::shared_ptr<const Team> team = alone()) {
    weights = {{"in", seeded_normal({width, 16}, 1).mul_(0.3).requires_grad_()},
               {"out", seeded_normal({16, width}, 2).mul_(0.3).requires_grad_()},
               {"unused", seeded_normal({2}, 3).requires_grad_()},
               {"table", at::arange(4)}};
    Objective objective;
    objective.draw = [](const Batch& batch, at::Generator generator) -> std::vector<Tensor> {
      return {at::randint(1, 4, {batch.x.size(0), tokens, 1}, generator, at::TensorOptions(at::kLong)), Tensor(),
              at::randn(batch.x.sizes(), generator, at::TensorOptions(at::kFloat))};
    };
    objective.loss = [this](const Batch& batch, const std::vector<Tensor>& draws) {
      if (on_loss) on_loss();
      const auto noisy = batch.x + draws[0].to(at::kFloat) * draws[2];
      const auto loss = (noisy.matmul(weights[0].second).tanh().matmul(weights[1].second) - batch.x).pow(2).mean();
      return spoil ? spoil(loss) : loss;
    };
    const LoaderConfig rows{config.batch, config.loader_workers, 2, false, team->rank(), team->size()};
    loader = std::make_unique<Loader>(data, rows, run_seed, first);
    trainer = std::make_unique<Trainer>(config, weights, objective, *loader, run_seed, at::kCPU, std::move(team));
  }
  std::vector<double> steps(int64_t n) {
    std::vector<double> losses;
    for (int64_t i = 0; i < n; ++i) losses.push_back(trainer->step());
    return losses;
  }
};

// Everything that a run leaves on the disk.
inline std::map<std::string, Tensor> saved(const Process& run) {
  const TemporaryFolder folder;
  run.trainer->save(folder.path());
  std::map<std::string, Tensor> all;
  const auto step = latest_checkpoint(folder.path()).value();
  for (const char* name : {"model", "ema", "trainer"})
    for (const auto& [key, tensor] : read_safetensors(step / (std::string(name) + ".safetensors")).tensors)
      all[std::string(name) + "/" + key] = tensor;
  return all;
}

inline void expect_identical(const std::map<std::string, Tensor>& a, const std::map<std::string, Tensor>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, tensor] : a) EXPECT_TRUE(identical(tensor, b.at(name))) << name;
}

inline void expect_close(const std::map<std::string, Tensor>& a, const std::map<std::string, Tensor>& b, double tolerance) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, tensor] : a) EXPECT_TRUE(close(tensor, b.at(name), tolerance)) << name;
}

}  // namespace df::test
