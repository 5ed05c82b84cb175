// SPDX-License-Identifier: MIT
#include "models/blocks.hpp"

#include <ATen/ATen.h>

#include <cmath>
#include <utility>

#include "core/autocast.hpp"
#include "ops/attention.hpp"
#include "ops/image.hpp"
#include "ops/image_layout.hpp"
#include "ops/pointwise.hpp"

namespace df::layers {

namespace {

// Memory tokens of each of `images` images: [images, ...].
Tensor memory_of(const Tensor& parameter, const Call& call, int64_t images) {
  return call.vectors.of(parameter, images).unflatten(1, parameter.sizes());
}

}  // namespace

ResnetBlock::ResnetBlock(int64_t in, int64_t out, int64_t embedding, at::Generator generator) {
  mlp_ = add<Linear>(*add<Group>(*this, "mlp"), "1", embedding, 2 * out, generator);
  const auto block1 = add<Group>(*this, "block1"), block2 = add<Group>(*this, "block2");
  proj1_ = add<Conv2d>(*block1, "proj", in, out, 3, true, generator);
  norm1_ = add<GroupNorm>(*block1, "norm", out);
  proj2_ = add<Conv2d>(*block2, "proj", out, out, 3, true, generator);
  norm2_ = add<GroupNorm>(*block2, "norm", out);
  if (in != out) res_conv_ = add<Conv2d>(*this, "res_conv", in, out, 1, true, generator);
}

void ResnetBlock::vectors(std::vector<Tensor>& all) const {
  all.insert(all.end(), {proj1_->bias(), proj2_->bias(), norm2_->weight(), norm2_->bias()});
  if (res_conv_) all.push_back(res_conv_->bias());
}

Tensor ResnetBlock::operator()(const ops::ImagePair& x, const Call& call) const {
  return ops::fused(x.first.device()) ? with_kernels(x, call) : plain(ops::joined(x), call);
}

Tensor ResnetBlock::plain(const Tensor& x, const Call& call) const {
  const Tensor h = norm1_->film_silu((*proj1_)(x, call), call.vectors.of(mlp_->weight()), {});
  return norm2_->film_silu((*proj2_)(h, call), {}, res_conv_ ? (*res_conv_)(x, call) : x);
}

Tensor ResnetBlock::with_kernels(const ops::ImagePair& x, const Call& call) const {
  if (x.second.defined() && res_conv_)
    if (const auto both = proj1_->twice(*res_conv_, x, call)) return after_first(both->first, both->second, call);
  const auto [first, kept] = proj1_->without_bias_and_images(ops::joined(x), call);
  return after_first(first, res_conv_ ? res_conv_->without_bias(kept, call) : kept, call);
}

Tensor ResnetBlock::after_first(const Tensor& first, const Tensor& residual, const Call& call) const {
  const auto vectors = [&](const GroupNorm& norm, const Tensor& x_bias, const Tensor& residual_bias) {
    return ops::NormVectors{call.vectors.of(norm.weight()), call.vectors.of(norm.bias()), x_bias, residual_bias};
  };
  const Tensor h = ops::group_norm(first, vectors(*norm1_, call.vectors.of(proj1_->bias()), {}), GroupNorm::groups, Activation::silu, {});
  const Tensor residual_bias = res_conv_ ? call.vectors.of(res_conv_->bias()) : Tensor();
  return ops::group_norm(proj2_->without_bias(h, call), vectors(*norm2_, call.vectors.of(proj2_->bias()), residual_bias), GroupNorm::groups,
                         Activation::silu, residual);
}

LinearAttention::LinearAttention(int64_t channels, int64_t heads, at::Generator generator) : heads_(heads) {
  const int64_t hidden = heads * head_channels;
  mem_kv_ = register_parameter("mem_kv", at::randn({2, heads, head_channels, memories}, generator, at::TensorOptions(at::kFloat)));
  norm_ = add<RmsNorm>(*this, "norm", channels);
  to_qkv_ = add<Conv2d>(*this, "to_qkv", channels, 3 * hidden, 1, false, generator);
  const auto out = add<Group>(*this, "to_out");
  to_out_ = add<Conv2d>(*out, "0", hidden, channels, 1, true, generator);
  out_norm_ = add<RmsNorm>(*out, "1", channels);
}

void LinearAttention::vectors(std::vector<Tensor>& all) const {
  all.insert(all.end(), {mem_kv_, norm_->g(), to_out_->bias(), out_norm_->g()});
}

Tensor LinearAttention::operator()(const Tensor& x, const Call& call) const {
  const auto [normed, kept] = norm_->and_images(x, call);
  const Tensor attended = ops::linear_attention((*to_qkv_)(normed, call), memory_of(mem_kv_, call, x.size(0)), heads_);
  return (*out_norm_)(to_out_->unbiased(attended, call), call, kept);
}

FullAttention::FullAttention(int64_t channels, int64_t heads, at::Generator generator) {
  const int64_t hidden = heads * head_channels;
  mem_kv_ = register_parameter("mem_kv", at::randn({2, heads, memories, head_channels}, generator, at::TensorOptions(at::kFloat)));
  norm_ = add<RmsNorm>(*this, "norm", channels);
  to_qkv_ = add<Conv2d>(*this, "to_qkv", channels, 3 * hidden, 1, false, generator);
  to_out_ = add<Conv2d>(*this, "to_out", hidden, channels, 1, true, generator);
}

void FullAttention::vectors(std::vector<Tensor>& all) const { all.insert(all.end(), {mem_kv_, norm_->g(), to_out_->bias()}); }

Tensor FullAttention::operator()(const Tensor& x, const Call& call) const {
  const auto [normed, kept] = norm_->and_images(x, call);
  return (*to_out_)(ops::full_attention((*to_qkv_)(normed, call), memory_of(mem_kv_, call, x.size(0))), call, kept);
}

std::shared_ptr<PixelAttention> add_attention(Module& parent, const std::string& name, Attention kind, int64_t channels, int64_t heads,
                                              at::Generator generator) {
  if (kind == Attention::none) return nullptr;
  if (kind == Attention::linear) return add<LinearAttention>(parent, name, channels, heads, std::move(generator));
  return add<FullAttention>(parent, name, channels, heads, std::move(generator));
}

Downsample::Downsample(int64_t in, int64_t out, at::Generator generator) {
  const auto conv = add<Group>(*this, "1");
  const double bound = 1.0 / std::sqrt(static_cast<double>(4 * in));
  weight_ = conv->register_parameter("weight", uniform_weight({out, 4 * in, 1, 1}, bound, generator));
  bias_ = conv->register_parameter("bias", uniform_weight({out}, bound, generator));
}

Tensor Downsample::operator()(const Tensor& x, const Call& call) const {
  // The 1x1 convolution of the patches is a 2x2 convolution of stride 2: the patches need not be built.
  const Tensor bias = call.vectors.of(bias_);
  const Tensor y = ops::convolution(x, {weight_, call.shared}, bias.defined() ? Tensor() : bias_, 2, 0, {weight_.size(0), x.size(1), 2, 2});
  return bias.defined() ? ops::add_bias(y, bias, {}) : y;
}

Upsample::Upsample(int64_t in, int64_t out, at::Generator generator) : conv_(add<Conv2d>(*this, "1", in, out, 3, true, generator)) {}

Tensor Upsample::operator()(const Tensor& x, const Call& call) const { return (*conv_)(ops::upsample(x), call); }

ConvGru::ConvGru(int64_t channels, at::Generator generator) {
  const double bound = 1.0 / std::sqrt(static_cast<double>(channels));
  const auto weights = [&](const char* name, Tensor& weight, Tensor& bias) {
    const auto conv = add<Group>(*this, name);
    weight = conv->register_parameter("weight", uniform_weight({3 * channels, channels, 3, 3}, bound, generator));
    bias = conv->register_parameter("bias", uniform_weight({3 * channels}, bound, generator));
  };
  weights("x2h", x2h_weight_, x2h_bias_);
  weights("h2h", h2h_weight_, h2h_bias_);
}

Tensor ConvGru::operator()(const Tensor& x, const Tensor& z, const Call& call) const {
  return ops::gru_cell(ops::convolution(x, {x2h_weight_, call.shared}, x2h_bias_, 1, 1),
                       ops::convolution(z, {h2h_weight_, call.shared}, h2h_bias_, 1, 1), z);
}

Decoder::Decoder(int64_t latent, int64_t hidden, int64_t out, at::Generator generator) {
  const auto block = add<Group>(*this, "0");
  conv1_ = add<Conv2d>(*block, "conv1", latent, hidden, 3, false, generator);
  conv2_ = add<Conv2d>(*block, "conv2", hidden, hidden, 3, false, generator);
  if (latent != hidden) shortcut_ = add<Conv2d>(*add<Group>(*block, "shortcut"), "0", latent, hidden, 1, false, generator);
  out_ = add<Conv2d>(*this, "1", hidden, out, 1, true, generator);
}

Tensor Decoder::operator()(const Tensor& z, const Call& call) const {
  if (!ops::fused(z.device()) || !shortcut_) {
    const Tensor h = (*conv2_)(at::relu((*conv1_)(z, call)), call);
    return (*out_)(at::relu(h + (shortcut_ ? (*shortcut_)(z, call) : z)), call);
  }
  // Channels beyond those that there are stay zeros until the end.
  const Tensor latent = z.to(Autocast::type(z.device().type(), z.scalar_type()));
  const Tensor h = conv2_->padded(at::relu(conv1_->padded(latent, call)), call);
  const Tensor x = out_->padded(at::relu(h + shortcut_->padded(latent, call)), call);
  return x.narrow(1, 0, out_->bias().size(0)) + out_->bias().to(x.scalar_type()).view({1, -1, 1, 1});
}

}  // namespace df::layers
