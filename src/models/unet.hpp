// SPDX-License-Identifier: MIT
// The U-Net from (x, level, condition, z) to the next z.
#pragma once

#include <memory>
#include <vector>

#include "models/blocks.hpp"
#include "models/unet_vectors.hpp"

namespace df::layers {

class Unet : public Module {
 public:
  Unet(const UnetGruConfig& config, int64_t token_channels, int64_t condition_dim, at::Generator generator);

  // What images need besides x and z: k int64 [N], c [N, C] -> matrices of N rows (models/unet_vectors.hpp). It does not depend on z, so
  // that a sequence needs one call.
  std::vector<Tensor> vectors(const Tensor& k, const Tensor& c) const;
  // x [N, C, H, W], z [N, latent, H, W], `vectors` of these images -> the next z. shared: of the sequence, or null.
  Tensor operator()(const Tensor& x, const Tensor& z, const std::vector<Tensor>& vectors, const ops::SharedWeights* shared) const;

 private:
  struct Level {
    std::vector<std::shared_ptr<ResnetBlock>> blocks;
    std::shared_ptr<PixelAttention> attention;  // may be null
    std::shared_ptr<Downsample> down;           // one of the three
    std::shared_ptr<Upsample> up;
    std::shared_ptr<Conv2d> keep;
    const Tensor& resize_bias() const;
    Tensor resize(const Tensor& x, const Call& call) const;
  };
  void add_downs(const UnetGruConfig& config, const std::vector<int64_t>& channels, int64_t embedding, at::Generator generator);
  void add_ups(const UnetGruConfig& config, const std::vector<int64_t>& channels, int64_t embedding, at::Generator generator);

  std::shared_ptr<Conv2d> init_conv_, final_conv_;
  std::shared_ptr<TimeMlp> time_mlp_;
  std::shared_ptr<GeluMlp> condition_mlp_;  // null without a condition
  std::vector<Level> downs_, ups_;
  std::shared_ptr<ResnetBlock> mid_block1_, mid_block2_, final_res_block_;
  std::shared_ptr<PixelAttention> mid_attention_;
  std::shared_ptr<ConvGru> gru_;  // null without a GRU
  UnetVectors vectors_;
};

}  // namespace df::layers
