// SPDX-License-Identifier: MIT
#include "models/unet.hpp"

#include <ATen/ATen.h>

#include <string>

#include "ops/image.hpp"

namespace df::layers {

Unet::Unet(const UnetGruConfig& config, int64_t token_channels, int64_t condition_dim, at::Generator generator) {
  const int64_t d = config.width;
  std::vector<int64_t> channels = {d};
  for (const int64_t multiplier : config.multipliers) channels.push_back(d * multiplier);
  const int64_t embedding = 4 * d + (condition_dim > 0 ? 2 * d : 0);

  init_conv_ = add<Conv2d>(*this, "init_conv", config.latent + token_channels, d, config.stem_kernel, true, generator);
  time_mlp_ = add<TimeMlp>(*this, "time_mlp", d, 4 * d, generator);
  if (condition_dim > 0) condition_mlp_ = add<GeluMlp>(*this, "external_cond_mlp", condition_dim, 2 * d, 2 * d, "0", "2", generator);
  add_downs(config, channels, embedding, generator);
  mid_block1_ = add<ResnetBlock>(*this, "mid_block1", channels.back(), channels.back(), embedding, generator);
  mid_attention_ = add_attention(*this, "mid_attn", config.middle_attention, channels.back(), config.heads, generator);
  mid_block2_ = add<ResnetBlock>(*this, "mid_block2", channels.back(), channels.back(), embedding, generator);
  add_ups(config, channels, embedding, generator);
  final_res_block_ = add<ResnetBlock>(*this, "final_res_block", 2 * d, d, embedding, generator);
  final_conv_ = add<Conv2d>(*this, "final_conv", d, config.latent, 1, true, generator);
  if (config.gru_layers > 0) gru_ = add<ConvGru>(*this, "gru", config.latent, generator);

  // Blocks in the order in which they run.
  const auto add_blocks = [&](const std::vector<Level>& levels) {
    for (const Level& level : levels)
      for (const auto& block : level.blocks) vectors_.add(*block);
  };
  add_blocks(downs_);
  vectors_.add(*mid_block1_);
  vectors_.add(*mid_block2_);
  add_blocks(ups_);
  vectors_.add(*final_res_block_);
  if (mid_attention_) vectors_.add(*mid_attention_);
  for (const auto* levels : {&downs_, &ups_})
    for (const Level& level : *levels) {
      if (level.attention) vectors_.add(*level.attention);
      vectors_.add({level.resize_bias()});
    }
  vectors_.add({init_conv_->bias(), final_conv_->bias()});
}

// Children of a level: its blocks from "0" on, then the attention's number, then the resampling's, whether or not there is attention.
void Unet::add_downs(const UnetGruConfig& config, const std::vector<int64_t>& channels, int64_t embedding, at::Generator generator) {
  const auto downs = add<Group>(*this, "downs");
  const size_t levels = config.multipliers.size();
  for (size_t i = 0; i < levels; ++i) {
    const int64_t in = channels[i], out = channels[i + 1];
    const auto group = add<Group>(*downs, std::to_string(i));
    Level level;
    for (int64_t j = 0; j < config.blocks; ++j)
      level.blocks.push_back(add<ResnetBlock>(*group, std::to_string(j), in, in, embedding, generator));
    level.attention = add_attention(*group, std::to_string(config.blocks), config.attention[i], in, config.heads, generator);
    const std::string name = std::to_string(config.blocks + 1);
    if (i + 1 < levels)
      level.down = add<Downsample>(*group, name, in, out, generator);
    else
      level.keep = add<Conv2d>(*group, name, in, out, 3, true, generator);
    downs_.push_back(std::move(level));
  }
}

void Unet::add_ups(const UnetGruConfig& config, const std::vector<int64_t>& channels, int64_t embedding, at::Generator generator) {
  const auto ups = add<Group>(*this, "ups");
  const size_t levels = config.multipliers.size();
  for (size_t i = 0; i < levels; ++i) {
    const size_t mirror = levels - 1 - i;  // its level of the way down
    const int64_t in = channels[mirror], out = channels[mirror + 1];
    const auto group = add<Group>(*ups, std::to_string(i));
    Level level;
    for (int64_t j = 0; j < config.blocks; ++j)
      level.blocks.push_back(add<ResnetBlock>(*group, std::to_string(j), out + in, out, embedding, generator));
    level.attention = add_attention(*group, std::to_string(config.blocks), config.attention[mirror], out, config.heads, generator);
    const std::string name = std::to_string(config.blocks + 1);
    if (i + 1 < levels)
      level.up = add<Upsample>(*group, name, out, in, generator);
    else
      level.keep = add<Conv2d>(*group, name, out, in, 3, true, generator);
    ups_.push_back(std::move(level));
  }
}

std::vector<Tensor> Unet::vectors(const Tensor& k, const Tensor& c) const {
  Tensor embedding = (*time_mlp_)(k);
  if (condition_mlp_) embedding = at::cat({embedding, (*condition_mlp_)(c)}, -1);
  return vectors_.of_images(at::silu(embedding), *this);
}

const Tensor& Unet::Level::resize_bias() const { return down ? down->bias() : up ? up->bias() : keep->bias(); }
Tensor Unet::Level::resize(const Tensor& x, const Call& call) const {
  return down ? (*down)(x, call) : up ? (*up)(x, call) : (*keep)(x, call);
}

Tensor Unet::operator()(const Tensor& x, const Tensor& z, const std::vector<Tensor>& vectors, const ops::SharedWeights* shared) const {
  const Call call{vectors_.by_parameter(vectors), shared};
  std::vector<Tensor> skips;
  const auto keep = [&skips](const Tensor& image) {  // for the way up, and to go on with
    const auto [now, later] = ops::fork(image);
    skips.push_back(later);
    return now;
  };
  const auto kept = [&skips] {
    const Tensor skip = skips.back();
    skips.pop_back();
    return skip;
  };
  Tensor h = keep((*init_conv_)({z, x}, call));
  for (const Level& level : downs_) {
    for (const auto& block : level.blocks) {
      h = (*block)(h, call);
      if (&block == &level.blocks.back() && level.attention) h = (*level.attention)(h, call);
      h = keep(h);
    }
    h = level.resize(h, call);
  }
  h = (*mid_block1_)(h, call);
  if (mid_attention_) h = (*mid_attention_)(h, call);
  h = (*mid_block2_)(h, call);
  for (const Level& level : ups_) {
    for (const auto& block : level.blocks) h = (*block)({h, kept()}, call);
    if (level.attention) h = (*level.attention)(h, call);
    h = level.resize(h, call);
  }
  h = (*final_conv_)((*final_res_block_)({h, kept()}, call), call);
  return gru_ ? (*gru_)(h, z, call) : h;
}

}  // namespace df::layers
