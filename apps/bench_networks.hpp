// SPDX-License-Identifier: MIT
// The networks of df-bench and what it takes to train them on data that costs nothing.
#pragma once

#include <ATen/ATen.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "diffusion_forcing/config/experiment.hpp"
#include "diffusion_forcing/core/accelerator.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/data/loader.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/models/mlp_gru.hpp"

namespace df::bench {

struct Network {
  std::string name;
  TokenSpec token;
  ExperimentConfig experiment;    // model, diffusion, training, sampling
  int64_t tokens = 0, batch = 0;  // of a training step
};

// Batches of a training step on two CPU cores are a part of those that the experiment asks for, where it asks for a GPU's.
inline std::vector<Network> networks(bool cpu) {
  std::vector<Network> all;
  const auto from_file = [&](const char* name, const char* file) {
    const auto in_the_tree = std::filesystem::path("configs") / file;
    Network network{name, {}, load_experiment(std::filesystem::exists(in_the_tree) ? in_the_tree : find_config(file)), 0, 0};
    const DataSpec spec = make_dataset(network.experiment.data, Split::train)->spec();
    network.token = spec.token;
    network.tokens = spec.tokens;
    network.batch = network.experiment.training.trainer.batch;
    all.push_back(std::move(network));
  };
  from_file("quick", "video_quick.yaml");
  from_file("video", "video.yaml");
  from_file("dmlab", "video_paper.yaml");
  all.back().batch = 32;  // a GPU's share of the authors' 256
  all.back().experiment.training.trainer.accumulate = 1;
  if (cpu)
    for (size_t i = 1; i < all.size(); ++i) all[i].tokens = 3, all[i].batch = 2;
  Network maze{"maze", {{60}, 0, {}, 1}, {}, 60, cpu ? 64 : 4096};
  maze.experiment.model = MlpGruConfig{};
  all.push_back(std::move(maze));
  return all;
}

inline std::shared_ptr<CausalModel> model_on(const Accelerator& on, const Network& network) {
  auto model = make_model(network.experiment.model, network.token, derive_seed(0, Stream::weights));
  model->to(on.device());
  return model;
}

// One sequence of noise again and again: the network's work does not depend on what it sees, and the loader costs next to nothing.
class SameNoise final : public Dataset {
 public:
  SameNoise(const TokenSpec& token, int64_t tokens)
      : spec_{token, tokens, 0.5, 0.5}, x_(seeded_normal(shape({tokens}, token.token_shape), derive_seed(0, Stream::data))) {}
  DataSpec spec() const override { return spec_; }
  int64_t size() const override { return 1; }
  Batch get(int64_t, int64_t) const override {
    Batch batch;
    batch.x = x_;
    return batch;
  }
  std::string describe() const override { return "noise"; }

 private:
  DataSpec spec_;
  Tensor x_;
};

// A trainer as df-train makes it, with everything that it refers to.
struct Training {
  std::shared_ptr<CausalModel> model;
  std::unique_ptr<Loader> loader;
  std::unique_ptr<Trainer> trainer;
};

inline Training make_training(const Accelerator& on, const Network& network, const TrainerConfig& config) {
  Training training;
  training.model = model_on(on, network);
  training.loader = std::make_unique<Loader>(std::make_shared<SameNoise>(network.token, network.tokens),
                                             LoaderConfig{config.batch, on.device().is_cpu() ? 1 : 4, 4, on.device().is_cuda()},
                                             derive_seed(0, Stream::order));
  const Diffusion diffusion = make_diffusion(network.experiment.diffusion).to(on.device());
  Objective objective;
  objective.draw = [=](const Batch& batch, at::Generator generator) -> std::vector<Tensor> {
    const NoiseDraw draw = draw_noise(TrainingNoise::independent, diffusion.config.levels, batch.x, 0, std::move(generator));
    return {draw.k, draw.eps};
  };
  objective.loss = [=, model = training.model, frame_stack = network.token.frame_stack](const Batch& batch,
                                                                                        const std::vector<Tensor>& draws) {
    const LossInput input{batch.x, batch.c, batch.mask, model->initial_latent(batch.x.size(0), batch.init)};
    return training_loss(*model, diffusion, TrainingNoise::independent, frame_stack, input, {draws[0], draws[1]});
  };
  training.trainer = std::make_unique<Trainer>(config, named_tensors(*training.model), objective, *training.loader, 0, on.device());
  return training;
}

}  // namespace df::bench
