// SPDX-License-Identifier: MIT
#include "models/unet.hpp"

#include <ATen/ATen.h>

#include <string>

#include "core/autocast.hpp"
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

std::vector<Tensor> Unet::vectors() const {
  std::vector<Tensor> all = {init_conv_->bias(), final_conv_->bias()};
  for (const ResnetBlock* block : all_) block->vectors(all);
  if (mid_attention_) mid_attention_->vectors(all);
  for (const auto* levels : {&downs_, &ups_})
    for (const Level& level : *levels) {
      if (level.attention) level.attention->vectors(all);
      all.push_back(level.resize_bias());
    }
  return all;
}

std::vector<Tensor> Unet::rows(const Tensor& k, const Tensor& c) const {
  Tensor embedding = (*time_mlp_)(k);
  if (condition_mlp_) embedding = at::cat({embedding, (*condition_mlp_)(c)}, -1);
  embedding = at::silu(embedding);
  if (!ops::fused(embedding.device())) {
    std::vector<Tensor> modulations;  // each [N, 2 channels]
    for (const ResnetBlock* block : all_) modulations.push_back(block->modulation()(embedding));
    return modulations;
  }
  // Where a launch costs more than a copy of the weights, one map for all blocks.
  const auto type = Autocast::type(embedding.device().type(), at::kFloat);
  const RowMaps maps = row_maps_.of(parameters(), type, [&] { return row_maps(type); });
  const auto film = at::linear(embedding, maps.weight, maps.bias).to(at::kFloat).chunk(2, 1);
  const Tensor factor = film[0] + 1;
  return {factor * maps.gains, at::addcmul(film[1], factor, maps.offsets), maps.shared.expand({embedding.size(0), -1})};
}

Unet::RowMaps Unet::row_maps(at::ScalarType type) const {
  std::vector<Tensor> weights, biases, gains, offsets, shared;
  for (const size_t half : {0, 1})  // scales of all blocks, then shifts
    for (const ResnetBlock* block : all_) {
      weights.push_back(block->modulation().weight().chunk(2)[half]);
      biases.push_back(block->modulation().bias().chunk(2)[half]);
    }
  for (const ResnetBlock* block : all_) {
    gains.push_back(block->modulated().weight());
    offsets.push_back(block->modulated().bias());
  }
  for (const Tensor& vector : vectors()) shared.push_back(vector.flatten());
  return {at::cat(weights).to(type), at::cat(biases).to(type), at::cat(gains), at::cat(offsets), at::cat(shared).to(at::kFloat)};
}

ImageRows Unet::by_parameter(const std::vector<Tensor>& rows) const {
  ImageRows by;
  if (!ops::fused(rows.front().device())) {
    for (size_t i = 0; i < all_.size(); ++i) by.add(all_[i]->modulation().weight(), rows[i]);
    return by;
  }
  std::vector<Tensor> gains, shifts;  // of norms
  for (const ResnetBlock* block : all_) {
    gains.push_back(block->modulated().weight());
    shifts.push_back(block->modulated().bias());
  }
  by.add(gains, rows[0]);
  by.add(shifts, rows[1]);
  by.add(vectors(), rows[2]);
  return by;
}

const Tensor& Unet::Level::resize_bias() const { return down ? down->bias() : up ? up->bias() : keep->bias(); }
Tensor Unet::Level::resize(const Tensor& x, const ImageRows& rows) const {
  return down ? (*down)(x, rows) : up ? (*up)(x, rows) : (*keep)(x, rows);
}

Tensor Unet::operator()(const Tensor& x, const Tensor& z, const std::vector<Tensor>& rows) const {
  const ImageRows by = by_parameter(rows);
  Tensor h = init_conv_->of_both(z, x, by);
  std::vector<Tensor> skips;
  const auto keep = [&skips](const Tensor& image) {
    const auto [now, later] = ops::fork(image);
    skips.push_back(later);
    return now;
  };
  h = keep(h);
  for (const Level& level : downs_) {
    for (const auto& block : level.blocks) {
      h = (*block)(h, by);
      if (&block == &level.blocks.back() && level.attention) h = (*level.attention)(h, by);
      h = keep(h);
    }
    h = level.resize(h, by);
  }
  h = (*mid_block1_)(h, by);
  if (mid_attention_) h = (*mid_attention_)(h, by);
  h = (*mid_block2_)(h, by);
  for (const Level& level : ups_) {
    for (const auto& block : level.blocks) {
      h = (*block)(h, skips.back(), by);
      skips.pop_back();
    }
    if (level.attention) h = (*level.attention)(h, by);
    h = level.resize(h, by);
  }
  h = (*final_conv_)((*final_res_block_)(h, skips.back(), by), by);
  return gru_ ? (*gru_)(h, z) : h;
}

}  // namespace df::layers
