// SPDX-License-Identifier: MIT
#include "diffusion_forcing/models/temporal_unet.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "models/layers.hpp"
#include "models/recompute.hpp"

namespace df {

namespace {

using layers::add;
using layers::Linear;
using torch::nn::Module;

class Conv1d : public Module {
 public:
  Conv1d(int64_t in, int64_t out, int64_t kernel, int64_t stride, at::Generator generator) : stride_(stride), padding_(kernel / 2) {
    const double bound = 1.0 / std::sqrt(static_cast<double>(in * kernel));
    weight_ = register_parameter("weight", layers::uniform_weight({out, in, kernel}, bound, generator));
    bias_ = register_parameter("bias", layers::uniform_weight({out}, bound, generator));
  }
  Tensor operator()(const Tensor& x) const {
    return at::conv1d(x, weight_, bias_, stride_, padding_);
  }  // [N, in, H] -> [N, out, H / stride]

 private:
  Tensor weight_, bias_;
  int64_t stride_, padding_;
};

// Twice the frames.
class Upsample1d : public Module {
 public:
  Upsample1d(int64_t channels, at::Generator generator) {
    const double bound = 1.0 / std::sqrt(static_cast<double>(channels * kernel));
    const auto conv = add<layers::Group>(*this, "conv");
    weight_ = conv->register_parameter("weight", layers::uniform_weight({channels, channels, kernel}, bound, generator));
    bias_ = conv->register_parameter("bias", layers::uniform_weight({channels}, bound, generator));
  }
  Tensor operator()(const Tensor& x) const { return at::conv_transpose1d(x, weight_, bias_, 2, 1); }

 private:
  static constexpr int64_t kernel = 4;
  Tensor weight_, bias_;
};

// Half the frames.
class Downsample1d : public Module {
 public:
  Downsample1d(int64_t channels, at::Generator generator) : conv_(add<Conv1d>(*this, "conv", channels, channels, 3, 2, generator)) {}
  Tensor operator()(const Tensor& x) const { return (*conv_)(x); }

 private:
  std::shared_ptr<Conv1d> conv_;
};

// Convolution, GroupNorm, Mish. Children "block.0" and "block.2": the authors have reshapes in between.
class ConvBlock : public Module {
 public:
  ConvBlock(int64_t in, int64_t out, int64_t kernel, at::Generator generator) {
    const auto block = add<layers::Group>(*this, "block");
    conv_ = add<Conv1d>(*block, "0", in, out, kernel, 1, generator);
    const auto norm = add<layers::Group>(*block, "2");
    scale_ = norm->register_parameter("weight", at::ones({out}));
    shift_ = norm->register_parameter("bias", at::zeros({out}));
  }
  Tensor operator()(const Tensor& x) const { return at::mish(at::group_norm((*conv_)(x), layers::GroupNorm::groups, scale_, shift_)); }

 private:
  std::shared_ptr<Conv1d> conv_;
  Tensor scale_, shift_;
};

class ResidualTemporalBlock : public Module {
 public:
  ResidualTemporalBlock(int64_t in, int64_t out, int64_t time, int64_t kernel, at::Generator generator) {
    const auto blocks = add<layers::Group>(*this, "blocks");
    first_ = add<ConvBlock>(*blocks, "0", in, out, kernel, generator);
    second_ = add<ConvBlock>(*blocks, "1", out, out, kernel, generator);
    time_ = add<Linear>(*add<layers::Group>(*this, "time_mlp"), "1", time, out, generator);
    if (in != out) shortcut_ = add<Conv1d>(*this, "residual_conv", in, out, 1, 1, generator);
  }
  // x [N, in, H], t = Mish(time embedding) [N, time] -> [N, out, H]
  Tensor operator()(const Tensor& x, const Tensor& t) const {
    const Tensor h = (*first_)(x) + (*time_)(t).unsqueeze(-1);
    return (*second_)(h) + (shortcut_ ? (*shortcut_)(x) : x);
  }

 private:
  std::shared_ptr<ConvBlock> first_, second_;
  std::shared_ptr<Linear> time_;
  std::shared_ptr<Conv1d> shortcut_;  // only where in != out
};

// Two residual blocks and, where the resolution changes, what changes it.
struct Level {
  std::shared_ptr<ResidualTemporalBlock> first, second;
  std::shared_ptr<Downsample1d> down;
  std::shared_ptr<Upsample1d> up;
};

// Sinusoids of the authors' time index, Linear, Mish, Linear. Children "1" and "3" as there.
class TimeEmbedding : public Module {
 public:
  TimeEmbedding(int64_t dim, at::Generator generator)
      : sinusoids_(add<layers::SinusoidalEmbedding>(*this, "0", dim)),
        first_(add<Linear>(*this, "1", dim, 4 * dim, generator)),
        second_(add<Linear>(*this, "3", 4 * dim, dim, generator)) {}
  Tensor operator()(const Tensor& k) const { return (*second_)(at::mish((*first_)((*sinusoids_)(k)))); }  // int64 [N] -> [N, dim]

 private:
  std::shared_ptr<layers::SinusoidalEmbedding> sinusoids_;
  std::shared_ptr<Linear> first_, second_;
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
    time_ = add<TimeEmbedding>(*this, "time_mlp", config.dim, generator);
    const auto downs = add<layers::Group>(*this, "downs"), ups = add<layers::Group>(*this, "ups");
    for (size_t i = 0; i < levels; ++i) {
      const auto level = add<layers::Group>(*downs, std::to_string(i));
      const int64_t in = channels[i], out = channels[i + 1];
      downs_.push_back({block(*level, "0", in, out), block(*level, "1", out, out), nullptr, nullptr});
      if (i + 1 < levels) downs_.back().down = add<Downsample1d>(*level, "2", out, generator);
    }
    first_middle_ = block(*this, "mid_block1", channels.back(), channels.back());
    second_middle_ = block(*this, "mid_block2", channels.back(), channels.back());
    for (size_t i = levels; i > 1; --i) {
      const auto level = add<layers::Group>(*ups, std::to_string(levels - i));
      const int64_t in = 2 * channels[i], out = channels[i - 1];
      ups_.push_back({block(*level, "0", in, out), block(*level, "1", out, out), nullptr, add<Upsample1d>(*level, "2", out, generator)});
    }
    const auto last = add<layers::Group>(*this, "final_conv");
    last_block_ = add<ConvBlock>(*last, "0", channels[1], channels[1], config.kernel, generator);
    last_ = add<Conv1d>(*last, "1", channels[1], token_shape_[1], 1, 1, generator);
  }

  TokenOutput step(const Tensor& x, const Tensor& k, const Tensor& c, const Tensor& z) override {
    check_inputs({x.size(0)}, x, k, c, z);
    return {denoise(x, k, c), z};
  }

  // Tokens do not see each other: all run as one batch.
  SequenceOutput unroll(const Tensor& x, const Tensor& k, const Tensor& c, const Tensor& z) override {
    check_inputs({x.size(0), x.size(1)}, x, k, c, z);
    const TokenRunner run(*this, recompute());
    const TokenRunner::Work work = [this](const std::vector<Tensor>& in) -> std::vector<Tensor> { return {denoise(in[0], in[1], in[2])}; };
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

  Tensor denoise(const Tensor& x, const Tensor& k, const Tensor& c) const {
    const Tensor t = at::mish((*time_)(k));
    Tensor h = conditioned(x, c).transpose(1, 2);  // [N, D, H]
    std::vector<Tensor> skips;
    for (const Level& level : downs_) {
      h = (*level.second)((*level.first)(h, t), t);
      skips.push_back(h);
      if (level.down) h = (*level.down)(h);
    }
    h = (*second_middle_)((*first_middle_)(h, t), t);
    for (const Level& level : ups_) {  // the skip of the first level is left over, as in the authors' network
      h = at::cat({h, skips.back()}, 1);
      skips.pop_back();
      h = (*level.up)((*level.second)((*level.first)(h, t), t));
    }
    return conditioned((*last_)((*last_block_)(h)).transpose(1, 2), c);
  }

  Shape token_shape_;
  int64_t observation_;
  std::shared_ptr<TimeEmbedding> time_;
  std::vector<Level> downs_, ups_;
  std::shared_ptr<ResidualTemporalBlock> first_middle_, second_middle_;
  std::shared_ptr<ConvBlock> last_block_;
  std::shared_ptr<Conv1d> last_;
};

void check(bool good, const std::string& message) {
  if (!good) throw Error(message);
}

void check_config(const TemporalUnetConfig& config, const TokenSpec& spec) {
  const Shape& token = spec.token_shape;
  check(token.size() == 2, fmt::format("model.type: temporal_unet needs tokens of frames [H, D], got tokens {}", to_string(token)));
  check(config.dim >= 8 && config.dim % layers::GroupNorm::groups == 0,
        fmt::format("model.dim: expected a multiple of 8 (the groups of its normalisations), got {}", config.dim));
  check(!config.multipliers.empty(), "model.multipliers: expected at least one level, got none");
  const auto smallest = *std::min_element(config.multipliers.begin(), config.multipliers.end());
  check(smallest >= 1, fmt::format("model.multipliers: expected numbers of at least 1, got {}", smallest));
  check(config.multipliers.size() <= 16, fmt::format("model.multipliers: expected at most 16 levels, got {}", config.multipliers.size()));
  check(config.kernel >= 1 && config.kernel % 2 == 1, fmt::format("model.kernel: expected an odd size, got {}", config.kernel));
  check(config.observation >= 1 && config.observation <= token[1],
        fmt::format("model.observation: expected 1 to {}, the entries of a frame, got {}", token[1], config.observation));
  check(spec.condition_dim == 2 * config.observation,
        fmt::format("model.observation: expected half of the data set's condition of {} entries (first and last observation), got {}",
                    spec.condition_dim, config.observation));
  const int64_t factor = int64_t{1} << (config.multipliers.size() - 1);
  check(token[0] >= 2 && token[0] % factor == 0,
        fmt::format("model.multipliers: expected at least 2 frames in a multiple of {} (2^(levels - 1)), got tokens of {} frames", factor,
                    token[0]));
}

}  // namespace

std::shared_ptr<CausalModel> make(const TemporalUnetConfig& config, const TokenSpec& spec, at::Generator generator) {
  check_config(config, spec);
  return std::make_shared<TemporalUnet>(config, spec, std::move(generator));
}

}  // namespace df
