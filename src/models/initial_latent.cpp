// SPDX-License-Identifier: MIT
#include "models/initial_latent.hpp"

#include <ATen/ATen.h>

#include <utility>

#include "diffusion_forcing/core/error.hpp"

namespace df::layers {

InitEncoder::InitEncoder(int64_t in, int64_t out, at::Generator generator)
    : first_(add<Linear>(*this, "0", in, 128, generator)),
      second_(add<Linear>(*this, "2", 128, 128, generator)),
      third_(add<Linear>(*this, "4", 128, out, generator)) {}

Tensor InitEncoder::operator()(const Tensor& init) const { return (*third_)(at::elu((*second_)(at::elu((*first_)(init))))); }

InitialLatent::InitialLatent(Module& owner, LatentInit kind, Shape latent_shape, const TokenSpec& spec, at::Generator generator)
    : kind_(kind), latent_shape_(std::move(latent_shape)), init_shape_(spec.init_shape) {
  if (kind_ == LatentInit::learned)
    init_z_ = owner.register_parameter("init_z", at::randn(latent_shape_, generator, at::TensorOptions(at::kFloat)));
  if (kind_ != LatentInit::encoded) return;
  if (init_shape_.empty())
    throw Error("model.latent_init: encoded needs a data set that gives an initial observation; expected learned or zero");
  if (latent_shape_.size() != 1)
    throw Error("model.latent_init: an encoded latent is a vector, but the latent is " + to_string(latent_shape_) +
                "; expected learned or zero");
  encoder_ = add<InitEncoder>(owner, "init_encoder", c10::multiply_integers(init_shape_), latent_shape_[0], std::move(generator));
}

Tensor InitialLatent::operator()(int64_t batch, const Tensor& init, const at::TensorOptions& like) const {
  switch (kind_) {
    case LatentInit::learned:
      return init_z_.unsqueeze(0).expand(shape({batch}, latent_shape_));
    case LatentInit::zero:
      return at::zeros(shape({batch}, latent_shape_), like);
    case LatentInit::encoded:
      check_shape(init, "init", shape({batch}, init_shape_));
      return (*encoder_)(init.flatten(1));
  }
  throw Error("model.latent_init: unknown value");
}

}  // namespace df::layers
