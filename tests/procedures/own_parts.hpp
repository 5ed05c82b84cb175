// SPDX-License-Identifier: MIT
// A data set and a model that the library does not know, small enough to train in a blink.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <string>

#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/procedures/parts.hpp"

namespace df::test {

class Waves final : public Dataset {
 public:
  explicit Waves(int64_t width = 4) : width_(width) {}
  DataSpec spec() const override { return {{{width_}, 0, {}, 2}, 6, 0.0, 1.0}; }
  int64_t size() const override { return 20; }
  Batch get(int64_t index, int64_t tokens) const override {
    const int64_t T = tokens > 0 ? tokens : 6;
    Batch batch;
    batch.x = at::arange(T * width_, at::kFloat).mul(0.3).add(static_cast<double>(index)).sin().view({T, width_});
    return batch;
  }
  std::string describe() const override { return "waves of the tests"; }

 private:
  int64_t width_;
};

class Cell final : public CausalModel {
 public:
  Cell() {
    in_ = register_parameter("in", seeded_normal({5, 8}, 1).mul(0.3));
    back_ = register_parameter("back", seeded_normal({8, 8}, 2).mul(0.3));
    out_ = register_parameter("out", seeded_normal({8, 4}, 3).mul(0.3));
  }
  TokenOutput step(const Tensor& x, const Tensor& k, const Tensor&, const Tensor& z) override {
    const Tensor input = at::cat({x, k.to(at::kFloat).div(20).unsqueeze(1)}, 1);
    const Tensor next = at::tanh(at::matmul(input, in_) + at::matmul(z, back_));
    return {at::matmul(next, out_), next};
  }
  Tensor initial_latent(int64_t batch, const Tensor&) override { return at::zeros({batch, 8}, in_.options()); }
  Shape token_shape() const override { return {4}; }
  Shape latent_shape() const override { return {8}; }
  int64_t condition_dim() const override { return 0; }

 private:
  Tensor in_, back_, out_;
};

inline Parts make_own_parts() {
  Parts parts;
  parts.train = parts.validation = std::make_shared<Waves>();
  parts.model = std::make_shared<Cell>();
  parts.diffusion = make_diffusion({.levels = 20});
  parts.sampling.steps = 4;
  parts.name = "waves";
  parts.seed = 3;
  return parts;
}

inline TrainingConfig make_own_training(int64_t steps) {
  TrainingConfig training;
  training.trainer.steps = steps;
  training.trainer.batch = 4;
  training.trainer.log_every = 1;
  training.trainer.validate_every = 2;
  training.trainer.validation_batches = 1;
  training.trainer.optimizer.warmup = 2;
  training.trainer.optimizer.learning_rate = 0.01;
  return training;
}

}  // namespace df::test
