// SPDX-License-Identifier: MIT
// The vectors that each image of a call of the U-Net has: what its level and condition do to every residual block and, on a device with
// kernels, biases and gains that all images share.
#pragma once

#include <vector>

#include "models/blocks.hpp"
#include "models/while_frozen.hpp"

namespace df::layers {

class UnetVectors {
 public:
  // Blocks in the order in which they run. They must outlive this.
  void add(const ResnetBlock& block);
  void add(const PixelAttention& attention) { attention.vectors(shared_); }
  void add(const std::vector<Tensor>& shared) { shared_.insert(shared_.end(), shared.begin(), shared.end()); }

  // From SiLU(embedding) of levels and conditions, [N, E]: matrices of N rows, which a sequence splits into those of its tokens.
  // What follows from the parameters of `network` alone is made once for as long as they stay as they are.
  std::vector<Tensor> of_images(const Tensor& embedding, const Module& network) const;
  // These matrices, or those of some of the images, as blocks take them.
  ImageVectors by_parameter(const std::vector<Tensor>& matrices) const;

 private:
  // Of the parameters of all blocks, beside each other: the map from embeddings to scales and shifts, the gains and offsets of the norms
  // that these modulate, and what images share.
  struct Maps {
    Tensor weight, bias, gains, offsets, shared;
  };
  Maps maps(at::ScalarType type) const;

  std::vector<const ResnetBlock*> blocks_;
  std::vector<Tensor> gains_, offsets_;  // of the modulated norms, by block
  std::vector<Tensor> shared_;
  mutable WhileFrozen<Maps> maps_;
};

}  // namespace df::layers
