// SPDX-License-Identifier: MIT
#include "models/unet_vectors.hpp"

#include <ATen/ATen.h>

#include "core/autocast.hpp"
#include "ops/image_layout.hpp"

namespace df::layers {

void UnetVectors::add(const ResnetBlock& block) {
  blocks_.push_back(&block);
  gains_.push_back(block.modulated().weight());
  offsets_.push_back(block.modulated().bias());
  block.vectors(shared_);
}

std::vector<Tensor> UnetVectors::of_images(const Tensor& embedding, const Module& network) const {
  if (!ops::fused(embedding.device())) {
    std::vector<Tensor> modulations;  // each [N, 2 channels]
    for (const ResnetBlock* block : blocks_) modulations.push_back(block->modulation()(embedding));
    return modulations;
  }
  // Where a launch costs more than a copy of the weights, one map for all blocks.
  const auto type = Autocast::type(embedding.device().type(), at::kFloat);
  const Maps all = maps_.of(network.parameters(), type, [&] { return maps(type); });
  const auto film = at::linear(embedding, all.weight, all.bias).to(at::kFloat).chunk(2, 1);
  const Tensor factor = film[0] + 1;
  return {factor * all.gains, at::addcmul(film[1], factor, all.offsets), all.shared.expand({embedding.size(0), -1})};
}

UnetVectors::Maps UnetVectors::maps(at::ScalarType type) const {
  std::vector<Tensor> weights, biases, shared;
  for (const size_t half : {0, 1})  // scales of all blocks, then shifts
    for (const ResnetBlock* block : blocks_) {
      weights.push_back(block->modulation().weight().chunk(2)[half]);
      biases.push_back(block->modulation().bias().chunk(2)[half]);
    }
  for (const Tensor& vector : shared_) shared.push_back(vector.flatten());
  return {at::cat(weights).to(type), at::cat(biases).to(type), at::cat(gains_), at::cat(offsets_), at::cat(shared).to(at::kFloat)};
}

ImageVectors UnetVectors::by_parameter(const std::vector<Tensor>& matrices) const {
  ImageVectors by;
  if (!ops::fused(matrices.front().device())) {
    for (size_t i = 0; i < blocks_.size(); ++i) by.add(blocks_[i]->modulation().weight(), matrices[i]);
    return by;
  }
  by.add(gains_, matrices[0]);
  by.add(offsets_, matrices[1]);
  by.add(shared_, matrices[2]);
  return by;
}

}  // namespace df::layers
