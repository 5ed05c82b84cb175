// SPDX-License-Identifier: MIT
#include "diffusion_forcing/models/unet_gru.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <optional>
#include <utility>
#include <vector>

#include "core/require.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "models/initial_latent.hpp"
#include "models/unet.hpp"
#include "ops/image_layout.hpp"
#include "ops/recompute.hpp"
#include "ops/shared_weights.hpp"

namespace df {

namespace {

void check_config(const UnetGruConfig& config) {
  constexpr int64_t groups = layers::GroupNorm::groups;
  const Require require("model");
  require.at_least("width", config.width, groups);
  require.at_least("latent", config.latent, 1);
  require.at_least("blocks", config.blocks, 1);
  require.at_least("heads", config.heads, 1);
  require.at_least("patch", config.patch, 1);
  require.at_least("decoder_width", config.decoder_width, 0);
  require(config.width % groups == 0, "width", fmt::format("a multiple of {} (groups of the normalisation)", groups), config.width);
  require(!config.multipliers.empty(), "multipliers", "at least one level", "none");
  for (const int64_t multiplier : config.multipliers) require.at_least("multipliers", multiplier, 1);
  require(config.attention.size() == config.multipliers.size(), "attention",
          fmt::format("{} entries (one per multiplier)", config.multipliers.size()), config.attention.size());
  require(config.gru_layers == 0 || config.gru_layers == 1, "gru_layers", "0 or 1", config.gru_layers);
  require(config.stem_kernel > 0 && config.stem_kernel % 2 == 1, "stem_kernel", "an odd size", config.stem_kernel);
}

void check_token(const UnetGruConfig& config, const Shape& token) {
  if (token.size() != 3) throw Error("model.type: unet_gru needs image tokens [C, H, W], got tokens " + to_string(token));
  const size_t levels = config.multipliers.size();
  const int64_t divisor = config.patch << (levels - 1);
  if (token[1] % divisor != 0 || token[2] % divisor != 0)
    throw Error(fmt::format(
        "model.multipliers: tokens of {} x {} pixels must be divisible by {} (patch {} times 2 for each of {} levels after the first)",
        token[1], token[2], divisor, config.patch, levels - 1));
}

class UnetGru final : public CausalModel {
 public:
  UnetGru(const UnetGruConfig& config, const TokenSpec& spec, at::Generator generator)
      : token_shape_(spec.token_shape),
        latent_shape_({config.latent, spec.token_shape[1] / config.patch, spec.token_shape[2] / config.patch}),
        condition_dim_(spec.condition_dim),
        patch_(config.patch),
        initial_(*this, config.latent_init, latent_shape_, spec, generator) {
    const int64_t channels = token_shape_[0] * patch_ * patch_;
    unet_ = layers::add<layers::Unet>(*this, "model", config, channels, condition_dim_, generator);
    decoder_ = layers::add<layers::Decoder>(*this, "x_from_z", config.latent, config.decoder_width > 0 ? config.decoder_width : channels,
                                            channels, generator);
  }

  TokenOutput step(const Tensor& x, const Tensor& k, const Tensor& c, const Tensor& z) override {
    check_inputs({x.size(0)}, x, k, c, z);
    const Tensor next = (*unet_)(to_patches(x), ops::arranged(z), unet_->vectors(k, c), nullptr);
    return {to_pixels((*decoder_)(next, {})), next};
  }

  // Everything that does not depend on z runs once for all tokens: embeddings and what follows from them, and the decoder.
  SequenceOutput unroll(const Tensor& x, const Tensor& k, const Tensor& c, const Tensor& z) override {
    const int64_t tokens = x.size(1);
    check_inputs({x.size(0), tokens}, x, k, c, z);
    const auto split = [&](const Tensor& flat) { return flat.unflatten(0, {-1, tokens}).unbind(1); };
    const auto patches = split(ops::whole_vectors(to_patches(x.flatten(0, 1))));
    std::vector<std::vector<Tensor>> vectors(static_cast<size_t>(tokens));
    for (const Tensor& of_all : unet_->vectors(k.flatten(), c.defined() ? c.flatten(0, 1) : c)) {
      const auto by_token = split(of_all);
      for (size_t t = 0; t < vectors.size(); ++t) vectors[t].push_back(by_token[t]);
    }
    std::optional<ops::SharedWeights> shared;
    if (ops::fused(device()) && at::GradMode::is_enabled() && !recompute()) shared.emplace(convolution_weights());
    const ops::SharedWeights* const of_sequence = shared ? &*shared : nullptr;
    std::vector<Tensor> latents;
    Tensor latent = ops::arranged(z);
    const ops::TokenRunner run(*unet_, recompute());
    const ops::TokenRunner::Work work = [unet = unet_, of_sequence](const std::vector<Tensor>& in) -> std::vector<Tensor> {
      return {(*unet)(in[0], in[1], {in.begin() + 2, in.end()}, of_sequence)};
    };
    for (size_t t = 0; t < vectors.size(); ++t) {
      std::vector<Tensor> inputs = {patches[t], latent};
      inputs.insert(inputs.end(), vectors[t].begin(), vectors[t].end());
      latents.push_back(latent = run(work, inputs).front());
    }
    const Tensor all = ops::stacked(latents);  // [B, T, latent...]
    const Tensor predictions = (*decoder_)(ops::arranged(all.flatten(0, 1)), {{}, of_sequence});
    return {to_pixels(predictions).unflatten(0, {-1, tokens}), all};
  }

  Tensor initial_latent(int64_t batch, const Tensor& init) override {
    return initial_(batch, init, at::TensorOptions(at::kFloat).device(device()));
  }
  Shape token_shape() const override { return token_shape_; }
  Shape latent_shape() const override { return latent_shape_; }
  int64_t condition_dim() const override { return condition_dim_; }

 private:
  std::vector<Tensor> convolution_weights() const {
    std::vector<Tensor> all;
    for (const auto& parameter : named_parameters())
      if (parameter.key().ends_with("weight") && parameter.value().dim() == 4) all.push_back(parameter.value());
    return all;
  }
  Tensor to_patches(const Tensor& x) const { return ops::arranged(patch_ > 1 ? at::pixel_unshuffle(x, patch_) : x); }
  Tensor to_pixels(const Tensor& x) const { return patch_ > 1 ? at::pixel_shuffle(x, patch_) : x; }

  Shape token_shape_, latent_shape_;
  int64_t condition_dim_, patch_;
  layers::InitialLatent initial_;
  std::shared_ptr<layers::Unet> unet_;
  std::shared_ptr<layers::Decoder> decoder_;
};

}  // namespace

std::shared_ptr<CausalModel> make(const UnetGruConfig& config, const TokenSpec& spec, at::Generator generator) {
  check_config(config);
  check_token(config, spec.token_shape);
  return std::make_shared<UnetGru>(config, spec, std::move(generator));
}

}  // namespace df
