// SPDX-License-Identifier: MIT
#include "diffusion_forcing/models/temporal_unet.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>

#include "core/require.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "models/temporal_blocks.hpp"
#include "ops/image_layout.hpp"
#include "ops/recompute.hpp"

namespace df {

namespace {

using layers::add;
using layers::Call;
using layers::ConvBlock;
using layers::Module;
using layers::ResidualTemporalBlock;

// Two residual blocks and, where the resolution changes, what changes it.
struct Level {
  std::shared_ptr<ResidualTemporalBlock> first, second;
  std::shared_ptr<layers::Convolution> resize;
};

class TemporalUnet final : public CausalModel {
 public:
  TemporalUnet(const TemporalUnetConfig& config, const TokenSpec& spec, at::Generator generator)
      : token_shape_(spec.token_shape), observation_(config.observation) {
    std::vector<int64_t> channels = {token_shape_[1]};
    for (const int64_t multiplier : config.multipliers) channels.push_back(config.dim * multiplier);
    const size_t levels = config.multipliers.size();
    const auto block = [&](Module& parent, const std::string& name, int64_t in, int64_t out) {
      return add<ResidualTemporalBlock>(parent, name, in, out, config.dim, config.kernel, generator);
    };
    time_ = add<layers::TimeEmbedding>(*this, "time_mlp", config.dim, generator);
    const auto downs = add<layers::Group>(*this, "downs"), ups = add<layers::Group>(*this, "ups");
    for (size_t i = 0; i < levels; ++i) {
      const auto level = add<layers::Group>(*downs, std::to_string(i));
      const int64_t in = channels[i], out = channels[i + 1];
      downs_.push_back({block(*level, "0", in, out), block(*level, "1", out, out), nullptr});
      if (i + 1 < levels) downs_.back().resize = add<layers::Conv1d>(*add<layers::Group>(*level, "2"), "conv", out, out, 3, 2, generator);
    }
    first_middle_ = block(*this, "mid_block1", channels.back(), channels.back());
    second_middle_ = block(*this, "mid_block2", channels.back(), channels.back());
    for (size_t i = levels; i > 1; --i) {
      const auto level = add<layers::Group>(*ups, std::to_string(levels - i));
      const int64_t in = 2 * channels[i], out = channels[i - 1];
      ups_.push_back({block(*level, "0", in, out), block(*level, "1", out, out), nullptr});
      ups_.back().resize = add<layers::DoublingConv1d>(*add<layers::Group>(*level, "2"), "conv", out, generator);
    }
    const auto last = add<layers::Group>(*this, "final_conv");
    last_block_ = add<ConvBlock>(*last, "0", channels[1], channels[1], config.kernel, generator);
    last_ = add<layers::Conv1d>(*last, "1", channels[1], token_shape_[1], 1, 1, generator);

    for (const auto* side : {&downs_, &ups_})
      for (const Level& level : *side) blocks_.insert(blocks_.end(), {level.first.get(), level.second.get()});
    blocks_.insert(blocks_.end(), {first_middle_.get(), second_middle_.get()});
  }

  TokenOutput step(const Tensor& x, const Tensor& k, const Tensor& c, const Tensor& z) override {
    check_inputs({x.size(0)}, x, k, c, z);
    return {denoise(x, k, c), z};
  }

  // Tokens do not see each other: all run as one batch.
  SequenceOutput unroll(const Tensor& x, const Tensor& k, const Tensor& c, const Tensor& z) override {
    check_inputs({x.size(0), x.size(1)}, x, k, c, z);
    const ops::TokenRunner run(*this, recompute());
    const ops::TokenRunner::Work work = [this](const std::vector<Tensor>& in) -> std::vector<Tensor> {
      return {denoise(in[0], in[1], in[2])};
    };
    const Tensor prediction = run(work, {x.flatten(0, 1), k.flatten(), c.flatten(0, 1)}).front();
    return {prediction.view(x.sizes()), z.unsqueeze(1).expand({x.size(0), x.size(1), z.size(1)})};
  }

  Tensor initial_latent(int64_t batch, const Tensor&) override {
    return at::zeros({batch, 1}, at::TensorOptions(at::kFloat).device(device()));
  }
  Shape token_shape() const override { return token_shape_; }
  Shape latent_shape() const override { return {1}; }
  int64_t condition_dim() const override { return 2 * observation_; }

 private:
  // x [N, H, D] with the observations of c [N, 2 O] in the first and the last frame.
  Tensor conditioned(const Tensor& x, const Tensor& c) const {
    const int64_t frames = x.size(1);
    const auto fixed = [&](int64_t frame, int64_t from) {
      const Tensor observation = c.slice(1, from, from + observation_), action = x.select(1, frame).slice(1, observation_);
      return at::cat({observation, action}, 1).unsqueeze(1);  // [N, 1, D]
    };
    return at::cat({fixed(0, 0), x.slice(1, 1, frames - 1), fixed(frames - 1, observation_)}, 1);
  }

  // What noise levels add in every residual block and, on a device with kernels, the vectors that images share.
  Call call(const Tensor& k) const {
    const Tensor t = at::mish((*time_)(k));
    std::vector<Tensor> weights, biases, shared;
    for (const ResidualTemporalBlock* block : blocks_) {
      weights.push_back(block->time().weight());
      biases.push_back(block->time().bias());
      block->vectors(shared);
    }
    const Tensor times = at::linear(t, at::cat(weights), at::cat(biases));
    Call call;
    if (!ops::fused(t.device())) {
      call.vectors.add(biases, times);
      return call;
    }
    for (const auto* side : {&downs_, &ups_})
      for (const Level& level : *side)
        if (level.resize) shared.push_back(level.resize->bias());
    last_block_->vectors(shared);
    call.vectors.add(biases, times.to(at::kFloat));
    call.vectors.add(shared, at::cat(shared).to(at::kFloat).expand({k.size(0), -1}));
    return call;
  }

  Tensor denoise(const Tensor& x, const Tensor& k, const Tensor& c) const {
    const Call call = this->call(k);
    Tensor h = layers::image_of_frames(conditioned(x, c));
    std::vector<Tensor> skips;
    for (const Level& level : downs_) {
      h = (*level.second)((*level.first)(h, call), call);
      skips.push_back(h);
      if (level.resize) h = (*level.resize)(h, call);
    }
    h = (*second_middle_)((*first_middle_)(h, call), call);
    for (const Level& level : ups_) {  // the skip of the first level is left over, as in the authors' network
      h = at::cat({h, skips.back()}, 1);
      skips.pop_back();
      h = (*level.resize)((*level.second)((*level.first)(h, call), call), call);
    }
    const Tensor frames = last_->without_bias((*last_block_)(h, call), call).squeeze(2).transpose(1, 2);
    return conditioned(frames.slice(2, 0, token_shape_[1]) + last_->bias(), c);
  }

  Shape token_shape_;
  int64_t observation_;
  std::shared_ptr<layers::TimeEmbedding> time_;
  std::vector<Level> downs_, ups_;
  std::shared_ptr<ResidualTemporalBlock> first_middle_, second_middle_;
  std::shared_ptr<ConvBlock> last_block_;
  std::shared_ptr<layers::Conv1d> last_;
  std::vector<const ResidualTemporalBlock*> blocks_;
};

void check_config(const TemporalUnetConfig& config, const TokenSpec& spec) {
  const Shape& token = spec.token_shape;
  const Require require("model");
  if (token.size() != 2) throw Error("model.type: temporal_unet needs tokens of frames [H, D], got tokens " + to_string(token));
  require(config.dim >= 8 && config.dim % layers::GroupNorm::groups == 0, "dim", "a multiple of 8 (the groups of its normalisations)",
          config.dim);
  require(!config.multipliers.empty(), "multipliers", "at least one level", "none");
  const auto smallest = *std::min_element(config.multipliers.begin(), config.multipliers.end());
  require(smallest >= 1, "multipliers", "numbers of at least 1", smallest);
  require(config.multipliers.size() <= 16, "multipliers", "at most 16 levels", config.multipliers.size());
  require(config.kernel >= 1 && config.kernel % 2 == 1, "kernel", "an odd size", config.kernel);
  require(config.observation >= 1 && config.observation <= token[1], "observation",
          fmt::format("1 to {}, the entries of a frame", token[1]), config.observation);
  require(spec.condition_dim == 2 * config.observation, "observation",
          fmt::format("half of the data set's condition of {} entries (first and last observation)", spec.condition_dim),
          config.observation);
  const int64_t factor = int64_t{1} << (config.multipliers.size() - 1);
  require(token[0] >= 2 && token[0] % factor == 0, "multipliers",
          fmt::format("at least 2 frames in a multiple of {} (2^(levels - 1))", factor), fmt::format("tokens of {} frames", token[0]));
}

}  // namespace

std::shared_ptr<CausalModel> make(const TemporalUnetConfig& config, const TokenSpec& spec, at::Generator generator) {
  check_config(config, spec);
  return std::make_shared<TemporalUnet>(config, spec, std::move(generator));
}

}  // namespace df
