// SPDX-License-Identifier: MIT
#include "diffusion_forcing/models/mlp_gru.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "core/require.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "models/initial_latent.hpp"
#include "models/layers.hpp"
#include "ops/mlp_gru_recurrence.hpp"
#include "ops/recompute.hpp"

namespace df {

namespace {

using layers::add;
using layers::Linear;

// GELU(shortcut(x) + Linear(GELU(Linear(x)))); the shortcut is linear where the width changes.
class ResidualLayer : public torch::nn::Module {
 public:
  ResidualLayer(int64_t in, int64_t out, at::Generator generator)
      : mlp_(add<layers::GeluMlp>(*this, "mlp", in, out, out, "0", "2", generator)) {
    if (in != out) shortcut_ = add<Linear>(*this, "shortcut", in, out, generator);
  }
  Tensor operator()(const Tensor& x) const { return at::gelu((*mlp_)(x).add_(shortcut_ ? (*shortcut_)(x) : x)); }
  ops::ResidualWeights weights() const {
    ops::ResidualWeights w{mlp_->first().weight(), mlp_->first().bias(), mlp_->second().weight(), mlp_->second().bias(), {}, {}};
    if (shortcut_) w.shortcut = shortcut_->weight(), w.shortcut_bias = shortcut_->bias();
    return w;
  }

 private:
  std::shared_ptr<layers::GeluMlp> mlp_;
  std::shared_ptr<Linear> shortcut_;
};

// One layer of an MLP: residual or plain.
struct Layer {
  std::shared_ptr<ResidualLayer> residual;
  std::shared_ptr<Linear> linear;
};

// `layers` >= 2: all but the last residual with `hidden` units, the last plain; numbered children.
std::vector<Layer> add_mlp(torch::nn::Module& parent, const std::string& name, int64_t layers, int64_t in, int64_t hidden, int64_t out,
                           at::Generator generator) {
  const auto group = add<layers::Group>(parent, name);
  std::vector<Layer> all;
  for (int64_t i = 0; i + 1 < layers; ++i)
    all.push_back({add<ResidualLayer>(*group, std::to_string(i), i == 0 ? in : hidden, hidden, generator), nullptr});
  all.push_back({nullptr, add<Linear>(*group, std::to_string(layers - 1), hidden, out, generator)});
  return all;
}

Tensor run(const std::vector<Layer>& layers, Tensor x) {
  for (const Layer& layer : layers) x = layer.residual ? (*layer.residual)(x) : (*layer.linear)(x);
  return x;
}

ops::MlpWeights weights(const std::vector<Layer>& layers) {
  ops::MlpWeights w;
  for (const Layer& layer : layers) {
    if (layer.residual)
      w.residual.push_back(layer.residual->weights());
    else
      w.last = layer.linear->weight(), w.last_bias = layer.linear->bias();
  }
  return w;
}

class GruCell : public torch::nn::Module {
 public:
  GruCell(int64_t in, int64_t hidden, at::Generator generator) {
    const double bound = 1.0 / std::sqrt(static_cast<double>(hidden));
    const auto weight = [&](const char* name, at::IntArrayRef sizes) {
      return register_parameter(name, layers::uniform_weight(sizes, bound, generator));
    };
    weight_ih_ = weight("weight_ih", {3 * hidden, in});
    weight_hh_ = weight("weight_hh", {3 * hidden, hidden});
    bias_ih_ = weight("bias_ih", {3 * hidden});
    bias_hh_ = weight("bias_hh", {3 * hidden});
  }
  Tensor operator()(const Tensor& x, const Tensor& z) const { return at::gru_cell(x, z, weight_ih_, weight_hh_, bias_ih_, bias_hh_); }
  ops::GruWeights weights() const { return {weight_ih_, weight_hh_, bias_ih_, bias_hh_}; }

 private:
  Tensor weight_ih_, weight_hh_, bias_ih_, bias_hh_;
};

class MlpGru final : public CausalModel {
 public:
  MlpGru(const MlpGruConfig& config, const TokenSpec& spec, at::Generator generator)
      : token_shape_(spec.token_shape),
        latent_shape_({config.latent}),
        condition_dim_(spec.condition_dim),
        initial_(*this, config.latent_init, latent_shape_, spec, generator) {
    const int64_t n = config.width, z = config.latent;
    const auto model = add<layers::Group>(*this, "model");
    time_mlp_ = add<layers::TimeMlp>(*model, "time_mlp", n, n, generator);
    if (condition_dim_ > 0) condition_mlp_ = add<layers::GeluMlp>(*model, "external_cond_mlp", condition_dim_, n, n, "0", "2", generator);
    const int64_t in = z + token_shape_[0] + n + (condition_dim_ > 0 ? n : 0), hidden = 32 * n;
    if (config.mlp_layers == 1) {
      before_ = {{add<ResidualLayer>(*model, "mlp_before_gru", in, z, generator), nullptr}};
      after_ = {{nullptr, add<Linear>(*model, "mlp_after_gru", z, z, generator)}};
    } else {
      before_ = add_mlp(*model, "mlp_before_gru", config.mlp_layers, in, hidden, z, generator);
      after_ = add_mlp(*model, "mlp_after_gru", config.mlp_layers, z, hidden, z, generator);
    }
    const auto cells = add<layers::Group>(*model, "gru_stack");
    const int64_t part = z / config.gru_layers;
    for (int64_t g = 0; g < config.gru_layers; ++g)
      cells_.push_back(add<GruCell>(*cells, std::to_string(g), g == 0 ? z : part, part, generator));
    x_from_z_ = add<Linear>(*this, "x_from_z", z, token_shape_[0], generator);
  }

  TokenOutput step(const Tensor& x, const Tensor& k, const Tensor& c, const Tensor& z) override {
    check_inputs({x.size(0)}, x, k, c, z);
    const Tensor next = advance(features(x, k, c), z);
    return {(*x_from_z_)(next), next};
  }

  // Embeddings and predictions run once for all tokens.
  SequenceOutput unroll(const Tensor& x, const Tensor& k, const Tensor& c, const Tensor& z) override {
    check_inputs({x.size(0), x.size(1)}, x, k, c, z);
    const Tensor tokens = features(x, k, c);
    const Tensor all = one_operator() ? ops::mlp_gru_recurrence(weights(), tokens, z) : token_by_token(tokens, z);  // [B, T, latent]
    return {(*x_from_z_)(all), all};
  }

  Tensor initial_latent(int64_t batch, const Tensor& init) override {
    return initial_(batch, init, at::TensorOptions(at::kFloat).device(device()));
  }
  Shape token_shape() const override { return token_shape_; }
  Shape latent_shape() const override { return latent_shape_; }
  int64_t condition_dim() const override { return condition_dim_; }

 private:
  // What the network sees beside z: [..., token + embeddings] for any leading shape.
  Tensor features(const Tensor& x, const Tensor& k, const Tensor& c) const {
    std::vector<Tensor> parts = {x, (*time_mlp_)(k)};
    if (condition_mlp_) parts.push_back((*condition_mlp_)(c));
    return at::cat(parts, -1);
  }

  // The operator keeps what it needs of every token, and the first layer must be one whose width changes.
  bool one_operator() const {
    return !(recompute() && at::GradMode::is_enabled()) && before_.front().residual->weights().shortcut.defined();
  }
  ops::MlpGruWeights weights() const {
    ops::MlpGruWeights all{df::weights(before_), {}, df::weights(after_)};
    for (const auto& cell : cells_) all.cells.push_back(cell->weights());
    return all;
  }

  Tensor token_by_token(const Tensor& features, const Tensor& z) const {
    std::vector<Tensor> latents;
    Tensor latent = z;
    const ops::TokenRunner run(*this, recompute());
    const ops::TokenRunner::Work work = [this](const std::vector<Tensor>& in) -> std::vector<Tensor> { return {advance(in[0], in[1])}; };
    for (const Tensor& token : features.unbind(1)) latents.push_back(latent = run(work, {token, latent}).front());
    return at::stack(latents, 1);
  }

  // Each cell updates its part of z; what follows the cells is the latent that the next token sees.
  Tensor advance(const Tensor& features, const Tensor& z) const {
    Tensor h = run(before_, at::cat({z, features}, -1));
    const auto parts = z.chunk(static_cast<int64_t>(cells_.size()), -1);
    std::vector<Tensor> outputs;
    for (size_t g = 0; g < cells_.size(); ++g) outputs.push_back(h = (*cells_[g])(h, parts[g]));
    return run(after_, at::cat(outputs, -1));
  }

  Shape token_shape_, latent_shape_;
  int64_t condition_dim_;
  layers::InitialLatent initial_;
  std::shared_ptr<layers::TimeMlp> time_mlp_;
  std::shared_ptr<layers::GeluMlp> condition_mlp_;  // null without a condition
  std::vector<Layer> before_, after_;
  std::vector<std::shared_ptr<GruCell>> cells_;
  std::shared_ptr<Linear> x_from_z_;
};

void check_config(const MlpGruConfig& config, const Shape& token) {
  const Require require("model");
  require.at_least("width", config.width, 4);
  require.at_least("latent", config.latent, 1);
  require.at_least("mlp_layers", config.mlp_layers, 1);
  require.at_least("gru_layers", config.gru_layers, 1);
  require(config.width % 2 == 0, "width", "an even number (sines and cosines)", config.width);
  require(config.latent % config.gru_layers == 0, "latent", fmt::format("a multiple of gru_layers ({})", config.gru_layers), config.latent);
  if (token.size() != 1) throw Error("model.type: mlp_gru needs vector tokens [D], got tokens " + to_string(token));
}

}  // namespace

std::shared_ptr<CausalModel> make(const MlpGruConfig& config, const TokenSpec& spec, at::Generator generator) {
  check_config(config, spec.token_shape);
  return std::make_shared<MlpGru>(config, spec, std::move(generator));
}

}  // namespace df
