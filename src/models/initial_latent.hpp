// SPDX-License-Identifier: MIT
// The latent before the first token, for every backbone.
#pragma once

#include <memory>

#include "diffusion_forcing/models/latent_init.hpp"
#include "diffusion_forcing/models/token_spec.hpp"
#include "models/layers.hpp"

namespace df::layers {

// Linear, ELU, Linear, ELU, Linear with 128 hidden units; children "0", "2", "4".
class InitEncoder : public Module {
 public:
  InitEncoder(int64_t in, int64_t out, at::Generator generator);
  Tensor operator()(const Tensor& init) const;  // [N, in] -> [N, out]

 private:
  std::shared_ptr<Linear> first_, second_, third_;
};

class InitialLatent {
 public:
  // Registers `init_z` or `init_encoder` with `owner`. Throws df::Error where the data set gives nothing to encode.
  InitialLatent(Module& owner, LatentInit kind, Shape latent_shape, const TokenSpec& spec, at::Generator generator);
  // [batch, latent...]; `like` gives device and dtype.
  Tensor operator()(int64_t batch, const Tensor& init, const at::TensorOptions& like) const;

 private:
  LatentInit kind_;
  Shape latent_shape_, init_shape_;
  Tensor init_z_;                         // learned
  std::shared_ptr<InitEncoder> encoder_;  // encoded
};

}  // namespace df::layers
