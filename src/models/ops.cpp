// SPDX-License-Identifier: MIT
#include "models/ops.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <initializer_list>
#include <optional>

#include "core/fused_kernels.hpp"
#include "models/ops_attention.hpp"

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

// The library's kernels for x [N, C, H, W], where they have one for its type and channels.
const FusedKernels* kernels_for(const Tensor& x) {
  const bool bf16 = x.scalar_type() == at::kBFloat16;
  if (x.size(1) % 8 != 0 || x.size(1) > (bf16 ? 1024 : 512) || !(bf16 || x.scalar_type() == at::kFloat)) return nullptr;
  return fused_kernels(x.device());
}

bool whole_vectors(const Tensor& x) {  // [., B, n] or a matrix
  const auto whole = [](int64_t n) { return n % 8 == 0; };
  return !x.defined() || (x.scalar_type() == at::kBFloat16 && x.stride(-1) == 1 && whole(x.size(-1)) && whole(x.storage_offset()) &&
                          (x.dim() < 2 || whole(x.stride(-2))) && (x.dim() < 3 || whole(x.stride(0))));
}

// The library's kernels for matrices, where they all fit.
const FusedKernels* kernels_for(std::initializer_list<Tensor> matrices) {
  const Tensor& first = *matrices.begin();
  if (first.is_cpu()) return nullptr;
  for (const Tensor& x : matrices) {
    if (!x.defined()) continue;
    const int64_t vector = 16 / x.element_size();
    if (x.scalar_type() != first.scalar_type() || !(x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16)) return nullptr;
    if (x.size(-1) % vector != 0 || x.stride(-1) != 1 || (x.dim() == 2 && x.stride(0) % vector != 0)) return nullptr;
    if (x.storage_offset() % vector != 0) return nullptr;
  }
  return fused_kernels(first.device());
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
    const auto out = fused_kernels(x.device())->group_norm(in);
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
    const auto gradient = fused_kernels(dy.device())->group_norm_backward(in, saved[5], dy);
    const Tensor residual = context->saved_data["residual"].toBool() ? dy : Tensor();
    return {gradient.x, gradient.gain, gradient.shift, gradient.x_bias, residual, gradient.residual_bias, Tensor(), Tensor()};
  }
};

struct AddBias : Function<AddBias> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const Optional& bias, const Optional& residual) {
    context->saved_data["learned"] = bias->requires_grad();
    context->saved_data["residual"] = residual.has_value();
    return fused_kernels(x.device())->add_bias(x, *bias, or_none(residual));
  }
  static variable_list backward(AutogradContext* context, const variable_list& upstream) {
    const Tensor dy = channels_last(upstream[0]);
    const bool learned = context->saved_data["learned"].toBool(), residual = context->saved_data["residual"].toBool();
    return {dy, learned ? pixel_sums(dy) : Tensor(), residual ? dy : Tensor()};
  }
};

struct Upsample : Function<Upsample> {
  static Tensor forward(AutogradContext*, const Tensor& x) { return fused_kernels(x.device())->upsample(x); }
  static variable_list backward(AutogradContext*, const variable_list& upstream) {
    const Tensor dy = channels_last(upstream[0]);
    return {fused_kernels(dy.device())->upsample_backward(dy)};
  }
};

struct Concatenate : Function<Concatenate> {
  static Tensor forward(AutogradContext* context, const Tensor& a, const Tensor& b) {
    context->saved_data["first"] = a.size(1);
    return fused_kernels(a.device())->concatenate(a, b);
  }
  // The second part stays where it is: `Fork` adds to it as it gathers it.
  static variable_list backward(AutogradContext* context, const variable_list& upstream) {
    const Tensor dy = channels_last(upstream[0]);
    const int64_t first = context->saved_data["first"].toInt(), channels = dy.size(1);
    return {fused_kernels(dy.device())->gather(dy.narrow(1, 0, first), channels, {}), dy.narrow(1, first, channels - first)};
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
    return {fused_kernels(part.device())->gather(part, row > 0 ? row : part.size(1), channels_last(upstream[0]))};
  }
};

// Results: the normalised images, and x where it is kept.
struct RmsNorm : Function<RmsNorm> {
  static variable_list forward(AutogradContext* context, const Tensor& x, const Optional& x_bias, const Optional& g,
                               const Optional& residual, bool keep) {
    context->save_for_backward({x, or_none(x_bias), *g});
    context->saved_data["residual"] = residual.has_value();
    context->set_materialize_grads(false);
    variable_list results = {fused_kernels(x.device())->rms_norm({x, or_none(x_bias), *g, or_none(residual)})};
    if (keep) results.push_back(x.detach());
    return results;
  }
  static variable_list backward(AutogradContext* context, const variable_list& upstream) {
    const auto saved = context->get_saved_variables();
    const Tensor kept = upstream.size() > 1 ? upstream[1] : Tensor();
    if (!upstream[0].defined()) return {kept, Tensor(), Tensor(), Tensor(), Tensor()};
    const Tensor dy = channels_last(upstream[0]), more = channels_last(kept);
    const auto gradient = fused_kernels(dy.device())->rms_norm_backward({saved[0], saved[1], saved[2], {}}, dy, more);
    return {gradient.x, gradient.x_bias, gradient.g, context->saved_data["residual"].toBool() ? dy : Tensor(), Tensor()};
  }
};

struct LinearAttention : Function<LinearAttention> {
  static Tensor forward(AutogradContext* context, const Tensor& qkv, const Tensor& memory, int64_t heads) {
    const auto out = fused_kernels(qkv.device())->linear_attention({qkv, memory, heads});
    context->save_for_backward({qkv, memory, out.context, out.keys});
    context->saved_data["heads"] = heads;
    return out.out;
  }
  static variable_list backward(AutogradContext* context, const variable_list& upstream) {
    const auto saved = context->get_saved_variables();
    const Tensor dout = channels_last(upstream[0]);
    const auto gradient =
        fused_kernels(dout.device())
            ->linear_attention_backward({saved[0], saved[1], context->saved_data["heads"].toInt()}, {{}, saved[2], saved[3]}, dout);
    return {gradient.qkv, gradient.memory, Tensor()};
  }
};

// Queries, keys and values by head, the latter two with those of the memory.
struct WithMemory : Function<WithMemory> {
  static variable_list forward(AutogradContext* context, const Tensor& qkv, const Tensor& memory) {
    const Tensor own = by_pixel(qkv, memory), all = fused_kernels(qkv.device())->with_memory(own, memory);
    context->saved_data["sizes"] = qkv.sizes().vec();
    return {by_head(own.select(2, 0)).detach(), by_head(all[0]).detach(), by_head(all[1]).detach()};
  }
  static variable_list backward(AutogradContext* context, const variable_list& upstream) {
    const auto sizes = context->saved_data["sizes"].toIntVector();
    const auto tokens = [](const Tensor& x) { return by_head(x).contiguous(); };
    const Tensor dq = tokens(upstream[0]), dk = tokens(upstream[1]), dv = tokens(upstream[2]);
    const auto gradient = fused_kernels(dq.device())->with_memory_backward(dq, dk, dv);
    return {gradient.qkv.view({sizes[0], sizes[2], sizes[3], sizes[1]}).permute({0, 3, 1, 2}), gradient.memory};
  }
};

// Channels of every pixel as a row: a view where channels are innermost; and back.
Tensor rows_of_pixels(const Tensor& images) { return channels_last(images).permute({0, 2, 3, 1}).flatten(0, 2); }
Tensor images_of(const Tensor& rows, const Tensor& like) {
  return rows.view({like.size(0), like.size(2), like.size(3), rows.size(1)}).permute({0, 3, 1, 2});
}

struct GruCell : Function<GruCell> {
  static Tensor forward(AutogradContext* context, const Tensor& from_x, const Tensor& from_z, const Tensor& z) {
    const Tensor a = rows_of_pixels(from_x), b = rows_of_pixels(from_z), state = rows_of_pixels(z), y = at::empty_like(state);
    gru(a, b, state, y);
    context->save_for_backward({a, b, state});
    return images_of(y, z);
  }
  static variable_list backward(AutogradContext* context, const variable_list& upstream) {
    const auto saved = context->get_saved_variables();
    const Tensor &a = saved[0], &b = saved[1], &state = saved[2];
    const Tensor da = at::empty_like(a), db = at::empty_like(b), dz = at::zeros_like(state);
    gru_backward(a, b, state, rows_of_pixels(upstream[0]), da, db, dz);
    return {images_of(da, upstream[0]), images_of(db, upstream[0]), images_of(dz, upstream[0])};
  }
};

}  // namespace

bool fused(at::Device device) { return fused_kernels(device) != nullptr; }

Tensor channels_last(const Tensor& x) { return x.defined() ? x.contiguous(at::MemoryFormat::ChannelsLast) : x; }

Tensor float_rows(const Tensor& vectors) {
  if (!vectors.defined()) return vectors;
  const Tensor rows = vectors.to(at::kFloat);
  return rows.stride(1) == 1 ? rows : rows.contiguous();
}

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
  return kernels_for(dy) ? fused_kernels(dy.device())->pixel_sums(channels_last(dy)) : dy.sum({2, 3}, /*keepdim=*/false, at::kFloat);
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

Tensor linear_attention(const Tensor& qkv, const Tensor& memory, int64_t heads) {
  const bool shaped = qkv.scalar_type() == at::kBFloat16 && memory.size(3) == 32;
  if (!shaped || !fused_kernels(qkv.device())) return plain::linear_attention(qkv, memory, heads);
  // Of an image all lies together: a view unless it does not.
  return LinearAttention::apply(channels_last(qkv), memory.to(at::kFloat).flatten(1).unflatten(1, memory.sizes().slice(1)), heads);
}

Tensor full_attention(const Tensor& qkv, const Tensor& memory) {
  const bool shaped = memory.size(4) % 8 == 0 && (qkv.scalar_type() == at::kBFloat16 || qkv.scalar_type() == at::kFloat);
  if (!shaped || !fused_kernels(qkv.device())) return plain::full_attention(qkv, memory);
  const Tensor images = channels_last(qkv);
  const auto tokens = WithMemory::apply(images, memory.to(at::kFloat));
  return attend(tokens[0], tokens[1], tokens[2], images);
}

Tensor gru_cell(const Tensor& from_x, const Tensor& from_z, const Tensor& z) {
  if (!fused(z.device()) || z.size(1) % 8 != 0) return plain::gru_cell(from_x, from_z, z);
  return GruCell::apply(from_x.to(z.scalar_type()), from_z.to(z.scalar_type()), z);  // the state keeps its precision
}

void add_gelu(const Tensor& x, const Tensor& bias, const Tensor& residual, const Tensor& y) {
  const auto* kernels = kernels_for({x, bias, residual, y});
  kernels ? kernels->add_gelu(x, bias, residual, y) : plain::add_gelu(x, bias, residual, y);
}

void gelu_backward(const Tensor& dy, const Tensor& more, const Tensor& x, const Tensor& dx) {
  const auto* kernels = kernels_for({dy, more, x, dx});
  kernels ? kernels->gelu_backward(dy, more, x, dx) : plain::gelu_backward(dy, more, x, dx);
}

void gru(const Tensor& a, const Tensor& b, const Tensor& z, const Tensor& y) {
  const auto* kernels = kernels_for({a, b, z, y});
  kernels ? kernels->gru({a, b, z}, y) : plain::gru(a, b, z, y);
}

void gru_backward(const Tensor& a, const Tensor& b, const Tensor& z, const Tensor& dy, const Tensor& da, const Tensor& db,
                  const Tensor& dz) {
  const auto* kernels = kernels_for({a, b, z, dy, da, db, dz});
  kernels ? kernels->gru_backward({a, b, z}, dy, da, db, dz) : plain::gru_backward(a, b, z, dy, da, db, dz);
}

bool token_layers_fused(const TokenLayers& network) {
  const TokenCell& cell = network.cell;
  for (const Tensor& x : {cell.from_x, cell.from_z, cell.z, cell.y, cell.dfrom_x, cell.dfrom_z, cell.dz})
    if (!whole_vectors(x)) return false;
  for (const TokenLayer& layer : network.layers)
    for (const Tensor& x : {layer.x, layer.w, layer.bias, layer.residual, layer.slope, layer.out, layer.gelu})
      if (!whole_vectors(x)) return false;
  return fused_kernels(network.layers.front().x.device()) != nullptr;
}

void token_layers(const TokenLayers& network) {
  if (token_layers_fused(network))
    fused_kernels(network.layers.front().x.device())->token_layers(network);
  else
    plain::token_layers(network);
}

}  // namespace df::ops
