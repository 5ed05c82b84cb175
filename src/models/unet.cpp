// SPDX-License-Identifier: MIT
#include "models/unet.hpp"

#include <ATen/ATen.h>

#include <string>

#include "models/ops.hpp"

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

  for (const Level& level : downs_)
    for (const auto& block : level.blocks) all_.push_back(block.get());
  all_.push_back(mid_block1_.get());
  all_.push_back(mid_block2_.get());
  for (const Level& level : ups_)
    for (const auto& block : level.blocks) all_.push_back(block.get());
  all_.push_back(final_res_block_.get());
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

std::vector<Tensor> Unet::modulations(const Tensor& k, const Tensor& c) const {
  Tensor embedding = (*time_mlp_)(k);
  if (condition_mlp_) embedding = at::cat({embedding, (*condition_mlp_)(c)}, -1);
  embedding = at::silu(embedding);
  std::vector<Tensor> all, weights, biases;
  if (!ops::fused(embedding.device())) {
    for (const ResnetBlock* block : all_) all.push_back(block->modulation()(embedding));
    return all;
  }
  // Where a launch costs more than a copy of the weights, one map for all blocks.
  std::vector<int64_t> sizes;
  for (const ResnetBlock* block : all_) {
    weights.push_back(block->modulation().weight());
    biases.push_back(block->modulation().bias());
    sizes.push_back(biases.back().size(0));
  }
  return at::linear(embedding, at::cat(weights), at::cat(biases)).to(at::kFloat).split_with_sizes(sizes, 1);
}

Tensor Unet::Level::resize(const Tensor& x) const { return down ? (*down)(x) : up ? (*up)(x) : (*keep)(x); }

Tensor Unet::operator()(const Tensor& x, const Tensor& z, const std::vector<Tensor>& modulations) const {
  auto modulation = modulations.begin();
  Tensor h = (*init_conv_)(at::cat({z, x}, 1));
  std::vector<Tensor> skips = {h};
  for (const Level& level : downs_) {
    for (const auto& block : level.blocks) {
      h = (*block)(h, *modulation++);
      if (&block == &level.blocks.back() && level.attention) h = (*level.attention)(h);
      skips.push_back(h);
    }
    h = level.resize(h);
  }
  h = (*mid_block1_)(h, *modulation++);
  if (mid_attention_) h = (*mid_attention_)(h);
  h = (*mid_block2_)(h, *modulation++);
  for (const Level& level : ups_) {
    for (const auto& block : level.blocks) {
      h = (*block)(at::cat({h, skips.back()}, 1), *modulation++);
      skips.pop_back();
    }
    if (level.attention) h = (*level.attention)(h);
    h = level.resize(h);
  }
  h = (*final_conv_)((*final_res_block_)(at::cat({h, skips.back()}, 1), *modulation++));
  return gru_ ? (*gru_)(h, z) : h;
}

}  // namespace df::layers
