// SPDX-License-Identifier: MIT
#include "ops/image.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>

#include "ops/image_layout.hpp"
#include "ops/kernels.hpp"

namespace df::ops {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;
using Optional = std::optional<Tensor>;

Optional optional(const Tensor& x) { return x.defined() ? Optional(x) : std::nullopt; }
Tensor or_none(const Optional& x) { return x ? *x : Tensor(); }
Optional image_vector(const Tensor& x) { return optional(float_rows(x)); }

// y as x is, of its type and with channels innermost; undefined stays so.
Tensor like(const Tensor& y, const Tensor& x) { return y.defined() ? channels_last(y.to(x.scalar_type())) : y; }

const ImageKernels& own(const Tensor& x) { return *kernels(x.device()).images; }

// The device's kernels for x [N, C, H, W], where they take its type and channels.
const ImageKernels* kernels_for(const Tensor& x) {
  const bool bf16 = x.scalar_type() == at::kBFloat16;
  if (x.size(1) % 8 != 0 || x.size(1) > (bf16 ? 1024 : 512) || !(bf16 || x.scalar_type() == at::kFloat)) return nullptr;
  return kernels(x.device()).images;
}

struct GroupNorm : Function<GroupNorm> {
  static GroupNormInput input(const variable_list& saved, int64_t groups, Activation activation) {
    return {saved[0], saved[1], saved[2], saved[3], {}, saved[4], groups, group_eps, activation};
  }
  static Tensor forward(AutogradContext* context, const Tensor& x, const Optional& gain, const Optional& shift, const Optional& x_bias,
                        const Optional& residual, const Optional& residual_bias, int64_t groups, Activation activation) {
    const variable_list saved = {x, *gain, *shift, or_none(x_bias), or_none(residual_bias)};
    auto in = input(saved, groups, activation);
    in.residual = or_none(residual);
    const auto out = own(x).group_norm(in);
    auto all = saved;
    all.push_back(out.stats);
    context->save_for_backward(all);
    context->saved_data["groups"] = groups;
    context->saved_data["activation"] = static_cast<int64_t>(activation);
    context->saved_data["residual"] = residual.has_value();
    return out.y;
  }
  static variable_list backward(AutogradContext* context, const variable_list& upstream) {
    const auto saved = context->get_saved_variables();
    const auto activation = static_cast<Activation>(context->saved_data["activation"].toInt());
    const auto in = input(saved, context->saved_data["groups"].toInt(), activation);
    const Tensor dy = channels_last(upstream[0]);
    const auto gradient = own(dy).group_norm_backward(in, saved[5], dy);
    const Tensor residual = context->saved_data["residual"].toBool() ? dy : Tensor();
    return {gradient.x, gradient.gain, gradient.shift, gradient.x_bias, residual, gradient.residual_bias, Tensor(), Tensor()};
  }
};

struct AddBias : Function<AddBias> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const Optional& bias, const Optional& residual) {
    context->saved_data["learned"] = bias->requires_grad();
    context->saved_data["residual"] = residual.has_value();
    return own(x).add_bias(x, *bias, or_none(residual));
  }
  static variable_list backward(AutogradContext* context, const variable_list& upstream) {
    const Tensor dy = channels_last(upstream[0]);
    const bool learned = context->saved_data["learned"].toBool(), residual = context->saved_data["residual"].toBool();
    return {dy, learned ? pixel_sums(dy) : Tensor(), residual ? dy : Tensor()};
  }
};

struct Upsample : Function<Upsample> {
  static Tensor forward(AutogradContext*, const Tensor& x) { return own(x).upsample(x); }
  static variable_list backward(AutogradContext*, const variable_list& upstream) {
    const Tensor dy = channels_last(upstream[0]);
    return {own(dy).upsample_backward(dy)};
  }
};

struct Concatenate : Function<Concatenate> {
  static Tensor forward(AutogradContext* context, const Tensor& a, const Tensor& b) {
    context->saved_data["first"] = a.size(1);
    return own(a).concatenate(a, b);
  }
  // The second part stays where it is: `Fork` adds to it as it gathers it.
  static variable_list backward(AutogradContext* context, const variable_list& upstream) {
    const Tensor dy = channels_last(upstream[0]);
    const int64_t first = context->saved_data["first"].toInt(), channels = dy.size(1);
    return {own(dy).gather(dy.narrow(1, 0, first), channels, {}), dy.narrow(1, first, channels - first)};
  }
};

// Elements from pixel to pixel of images [N, C, H, W] with channels innermost; 0 where they do not lie like that.
int64_t pixel_row(const Tensor& x) {
  const int64_t height = x.size(2), width = x.size(3);
  const int64_t row = width > 1 ? x.stride(3) : height > 1 ? x.stride(2) : x.size(0) > 1 ? x.stride(0) : x.size(1);
  const bool rows = height == 1 || x.stride(2) == width * row, images = x.size(0) == 1 || x.stride(0) == height * width * row;
  return rows && images && x.stride(1) == 1 && row % 8 == 0 && x.storage_offset() % 8 == 0 ? row : 0;
}

struct Fork : Function<Fork> {
  static variable_list forward(AutogradContext*, const Tensor& x) { return {x.detach(), x.detach()}; }
  static variable_list backward(AutogradContext*, const variable_list& upstream) {
    const int64_t row = pixel_row(upstream[1]);
    const Tensor part = row > 0 ? upstream[1] : channels_last(upstream[1]);
    return {own(part).gather(part, row > 0 ? row : part.size(1), channels_last(upstream[0]))};
  }
};

// Results: the normalised images, and x where it is kept.
struct RmsNorm : Function<RmsNorm> {
  static variable_list forward(AutogradContext* context, const Tensor& x, const Optional& x_bias, const Optional& g,
                               const Optional& residual, bool keep) {
    context->save_for_backward({x, or_none(x_bias), *g});
    context->saved_data["residual"] = residual.has_value();
    context->set_materialize_grads(false);
    variable_list results = {own(x).rms_norm({x, or_none(x_bias), *g, or_none(residual)})};
    if (keep) results.push_back(x.detach());
    return results;
  }
  static variable_list backward(AutogradContext* context, const variable_list& upstream) {
    const auto saved = context->get_saved_variables();
    const Tensor kept = upstream.size() > 1 ? upstream[1] : Tensor();
    if (!upstream[0].defined()) return {kept, Tensor(), Tensor(), Tensor(), Tensor()};
    const Tensor dy = channels_last(upstream[0]), more = channels_last(kept);
    const auto gradient = own(dy).rms_norm_backward({saved[0], saved[1], saved[2], {}}, dy, more);
    return {gradient.x, gradient.x_bias, gradient.g, context->saved_data["residual"].toBool() ? dy : Tensor(), Tensor()};
  }
};

}  // namespace

Tensor group_norm(const Tensor& x, const NormVectors& vectors, int64_t groups, Activation activation, const Tensor& residual) {
  if (!kernels_for(x)) return plain::group_norm(x, vectors, groups, activation, residual);
  const Tensor rest = like(residual, x);
  return GroupNorm::apply(channels_last(x), image_vector(vectors.gain), image_vector(vectors.shift), image_vector(vectors.x_bias),
                          optional(rest), image_vector(vectors.residual_bias), groups, activation);
}

Tensor add_bias(const Tensor& x, const Tensor& bias, const Tensor& residual) {
  if (!kernels_for(x)) return plain::add_bias(x, bias, residual);
  const Tensor rest = like(residual, x);
  return AddBias::apply(channels_last(x), image_vector(bias), optional(rest));
}

Tensor pixel_sums(const Tensor& dy) {
  return kernels_for(dy) ? own(dy).pixel_sums(channels_last(dy)) : dy.sum({2, 3}, /*keepdim=*/false, at::kFloat);
}

Tensor upsample(const Tensor& x) { return kernels_for(x) ? Upsample::apply(channels_last(x)) : plain::upsample(x); }

Tensor concatenate(const Tensor& a, const Tensor& b) {
  if (!kernels_for(a) || !kernels_for(b) || a.scalar_type() != b.scalar_type()) return plain::concatenate(a, b);
  return Concatenate::apply(channels_last(a), channels_last(b));
}

std::pair<Tensor, Tensor> fork(const Tensor& x) {
  if (!kernels_for(x) || !x.requires_grad()) return {x, x};
  const auto both = Fork::apply(x);
  return {both[0], both[1]};
}

Tensor rms_norm(const Tensor& x, const Tensor& x_bias, const Tensor& g, const Tensor& residual) {
  if (!kernels_for(x)) return plain::rms_norm(x, x_bias, g, residual);
  const Tensor rest = like(residual, x);
  return RmsNorm::apply(channels_last(x), image_vector(x_bias), image_vector(g), optional(rest), false)[0];
}

std::pair<Tensor, Tensor> rms_norm_and_images(const Tensor& x, const Tensor& g) {
  if (!kernels_for(x)) return {plain::rms_norm(x, {}, g, {}), x};
  const auto both = RmsNorm::apply(channels_last(x), Optional(), image_vector(g), Optional(), true);
  return {both[0], both[1]};
}

}  // namespace df::ops
