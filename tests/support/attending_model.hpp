// SPDX-License-Identifier: MIT
// A small model that attends to the last W tokens: the second user of CausalModel::history(). A token's z is its keys and values.
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/models/causal_model.hpp"

namespace df::test {

struct AttendingConfig {
  int64_t token = 3;      // numbers of a token
  int64_t condition = 0;  // numbers of a condition
  int64_t width = 8, layers = 1, window = 4;
  uint64_t seed = 1;
};

class AttendingModel final : public CausalModel {
 public:
  explicit AttendingModel(const AttendingConfig& config) : config_(config) {
    const int64_t D = config.width;
    embed_ = weight("embed", D, config.token);
    level_ = weight("level", D, 2);
    if (config.condition > 0) condition_ = weight("condition", D, config.condition);
    for (int64_t l = 0; l < config.layers; ++l) {
      const std::string name = "layer" + std::to_string(l);
      layers_.push_back({weight(name + "_query", D, D), weight(name + "_key", D, D), weight(name + "_value", D, D),
                         weight(name + "_out", D, D), weight(name + "_up", 2 * D, D), weight(name + "_down", D, 2 * D),
                         register_parameter(name + "_age", seeded_normal({config.window + 1}, derive_seed(config.seed, {drawn_++})))});
    }
    out_ = weight("out", config.token, D);
  }

  TokenOutput step(const Tensor& x, const Tensor& k, const Tensor& c, const Tensor& z) override {
    ++calls;
    const auto one = [](const Tensor& rows) { return rows.defined() ? rows.unsqueeze(1) : rows; };
    const SequenceOutput out = run(one(x), one(k), one(c), z);
    return {out.prediction.select(1, 0), out.z.select(1, 0)};
  }
  SequenceOutput unroll(const Tensor& x, const Tensor& k, const Tensor& c, const Tensor& z) override {
    ++calls;
    return run(x, k, c, z);
  }
  Tensor initial_latent(int64_t batch, const Tensor&) override { return at::zeros(shape({batch, 0}, latent_shape())); }
  int64_t history() const override { return config_.window; }
  Shape token_shape() const override { return {config_.token}; }
  Shape latent_shape() const override { return {config_.layers, 2, config_.width}; }
  int64_t condition_dim() const override { return config_.condition; }

  int calls = 0;  // not counted across threads

 private:
  struct Layer {
    Tensor query, key, value, out, up, down;
    Tensor age;  // [W + 1] what a token's age adds to its score
  };

  Tensor weight(const std::string& name, int64_t rows, int64_t columns) {
    const double scale = 1.0 / std::sqrt(static_cast<double>(columns));
    return register_parameter(name, seeded_normal({rows, columns}, derive_seed(config_.seed, {drawn_++})) * scale);
  }

  SequenceOutput run(const Tensor& x, const Tensor& k, const Tensor& c, const Tensor& z) const {
    const int64_t T = x.size(1), H = z.size(1), W = config_.window;
    check_inputs({x.size(0), T}, x, k, c, z);
    const Tensor amount = (k.to(at::kFloat) + 1).log();
    Tensor h = at::linear(x, embed_) + at::linear(at::stack({amount, amount.sin()}, -1), level_);
    if (condition_.defined()) h = h + at::linear(c, condition_);
    h = h.tanh();
    // Of entry j, oldest first, to token t: 0 is the token itself, and those older than W are not seen.
    const Tensor age = at::arange(H, H + T, x.options().dtype(at::kLong)).unsqueeze(1) - at::arange(H + T, x.options().dtype(at::kLong));
    const Tensor hidden = (age < 0).logical_or(age > W);
    std::vector<Tensor> entries;
    for (size_t l = 0; l < layers_.size(); ++l) {
      const Layer& layer = layers_[l];
      const Tensor own = at::stack({at::linear(h, layer.key), at::linear(h, layer.value)}, 2);  // [B, T, 2, D]
      const Tensor all = at::cat({z.select(2, static_cast<int64_t>(l)), own.to(z.scalar_type())}, 1);
      const Tensor query = at::linear(h, layer.query).to(z.scalar_type());
      const Tensor score =
          at::matmul(query, all.select(2, 0).transpose(1, 2)).to(at::kFloat) / std::sqrt(static_cast<double>(config_.width));
      const Tensor share = at::softmax((score + layer.age.index({age.clamp(0, W)})).masked_fill(hidden, -1e9), -1);
      h = h + at::linear(at::matmul(share.to(z.scalar_type()), all.select(2, 1)), layer.out);
      h = h + at::linear(at::silu(at::linear(h, layer.up)), layer.down);
      entries.push_back(own);
    }
    return {at::linear(h, out_), at::stack(entries, 2)};
  }

  AttendingConfig config_;
  uint64_t drawn_ = 0;
  Tensor embed_, level_, condition_, out_;
  std::vector<Layer> layers_;
};

}  // namespace df::test
