// SPDX-License-Identifier: MIT
#include "models/shared_weights.hpp"

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/ivalue.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include <map>
#include <optional>
#include <string>
#include <utility>

#include "core/autocast.hpp"
#include "core/side_stream.hpp"
#include "models/convolution.hpp"
#include "models/ops.hpp"

namespace df::layers {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

namespace {

// Axes of a weight, or of what has its sizes, in the order in which the weight's lie in memory; and back.
bool lies_channels_last(const Tensor& weight) { return !weight.is_contiguous(); }
Tensor as_it_lies(const Tensor& x, const Tensor& weight) { return lies_channels_last(weight) ? x.movedim(1, -1) : x; }
Tensor as_weight(const Tensor& x, const Tensor& weight) { return lies_channels_last(weight) ? x.movedim(-1, 1) : x; }
// Of a gradient the part that the weight has channels for.
Tensor without_padding(const Tensor& dw, const Tensor& weight) {
  return dw.numel() > weight.numel() ? dw.narrow(0, 0, weight.size(0)).narrow(1, 0, weight.size(1)) : dw;
}

}  // namespace

// What tokens leave of each weight.
class WeightGradients : public torch::CustomClassHolder {
 public:
  explicit WeightGradients(const std::vector<Tensor>& weights) : side_(weights.front().device()), places_(weights.size()) {
    for (size_t i = 0; i < weights.size(); ++i) places_[i].weight = weights[i].detach();
  }

  // w: the weight as it has been applied, perhaps seen with other sizes, or with more channels than it has.
  void leave(size_t i, const Tensor& dy, const ImagePair& x, const Tensor& w, ops::ConvolutionStep step) {
    Place& place = places_[i];
    if (ops::adds_weights(dy, x, w, step)) {
      auto& [images, gradients] = place.to_add;
      const bool like = gradients.empty() || (dy.sizes() == gradients[0].sizes() && x.first.sizes() == images[0].first.sizes());
      if (!like) add(place);
      gradients.push_back(dy);
      images.push_back(x);
      if (gradients.size() == ops::most_batches) add(place);
      return;
    }
    const auto flat = [&] {
      const Tensor dw = without_padding(ops::convolution_weight(dy, x, w, step), place.weight);
      return as_it_lies(dw.reshape(place.weight.sizes()), place.weight).reshape(-1);
    };
    place.left.push_back(side_.run(flat, {x.first, x.second, dy}));
  }

  // Of each weight the sum over tokens in float32; undefined where no token left any. Those that as many tokens left share their kernels.
  variable_list sums() {
    for (Place& place : places_) add(place);
    side_.join();
    std::map<size_t, std::vector<size_t>> by_tokens;
    for (size_t i = 0; i < places_.size(); ++i) by_tokens[places_[i].left.size()].push_back(i);
    variable_list all(places_.size());
    for (const auto& [tokens, places] : by_tokens) {
      if (tokens == 0) continue;
      std::vector<Tensor> parts;
      std::vector<int64_t> lengths;
      for (const size_t i : places) lengths.push_back(places_[i].weight.numel());
      for (size_t t = 0; t < tokens; ++t)
        for (const size_t i : places) parts.push_back(places_[i].left[t]);
      const Tensor sum = at::cat(parts).view({static_cast<int64_t>(tokens), -1}).sum(0, /*keepdim=*/false, at::kFloat);
      const auto sums = sum.split_with_sizes(lengths);
      for (size_t i = 0; i < places.size(); ++i) {
        const Tensor& weight = places_[places[i]].weight;
        all[places[i]] = as_weight(sums[i].view(as_it_lies(weight, weight).sizes()), weight);
      }
    }
    for (size_t i = 0; i < places_.size(); ++i) {
      if (places_[i].sum.defined()) {
        const Tensor sum = without_padding(places_[i].sum, places_[i].weight);
        all[i] = all[i].defined() ? all[i] + sum : sum;
      }
      Place emptied;
      emptied.weight = places_[i].weight;
      places_[i] = std::move(emptied);
    }
    return all;
  }

 private:
  struct Place {
    Tensor weight;
    std::vector<Tensor> left;   // flat, as the weight lies, a token each
    ConvolutionBatches to_add;  // tokens whose gradients are still to be added, of the same sizes
    Tensor sum;                 // of those that are; undefined where there are none
  };

  void add(Place& place) {
    if (place.to_add.dy.empty()) return;
    std::vector<Tensor> reads = place.to_add.dy;
    for (const ImagePair& x : place.to_add.x) reads.insert(reads.end(), {x.first, x.second});
    if (place.sum.defined()) reads.push_back(place.sum);
    place.sum = side_.run([&] { return ops::add_weights(place.to_add, place.weight.size(2), place.sum); }, std::move(reads));
    place.to_add = {};
  }

  SideStream side_;
  std::vector<Place> places_;
};

namespace {

using Gradients = c10::intrusive_ptr<WeightGradients>;

Gradients gradients_of(const AutogradContext* context, const std::string& name) {
  return c10::static_intrusive_pointer_cast<WeightGradients>(context->saved_data.at(name).toCapsule());
}

// Weights for all tokens. Its backward pass comes after that of every convolution with one of them.
struct Share : Function<Share> {
  static variable_list forward(AutogradContext* context, const Gradients& gradients, at::ScalarType type, at::TensorList weights) {
    context->saved_data["gradients"] = at::IValue::make_capsule(gradients);
    context->set_materialize_grads(false);
    variable_list cast, from, to;
    for (const Tensor& weight : weights) {
      cast.push_back(weight.scalar_type() == type ? weight.detach() : at::empty_like(weight, weight.options().dtype(type)));
      if (weight.scalar_type() == type) continue;
      from.push_back(weight.detach());
      to.push_back(cast.back());
    }
    if (!to.empty()) at::_foreach_copy_(to, from);  // few kernels for all
    return cast;
  }
  static variable_list backward(AutogradContext* context, const variable_list& upstream) {
    variable_list all = gradients_of(context, "gradients")->sums();
    for (size_t i = 0; i < all.size(); ++i)  // of uses by other operators
      if (upstream[i].defined()) all[i] = all[i].defined() ? all[i] + upstream[i] : upstream[i].to(at::kFloat);
    all.insert(all.begin(), 2, Tensor());  // nothing for `gradients` and `type`
    return all;
  }
};

// What a convolution leaves for its backward pass, in the saved data of its function.
struct Convolved {
  ops::ConvolutionStep step;
  Gradients gradients;
  size_t place;
  void save(AutogradContext* context, const std::string& name) const {
    context->saved_data[name + "gradients"] = at::IValue::make_capsule(gradients);
    context->saved_data[name + "place"] = static_cast<int64_t>(place);
    context->saved_data[name + "stride"] = step.stride;
    context->saved_data[name + "padding"] = step.padding;
  }
  static Convolved of(const AutogradContext* context, const std::string& name) {
    const auto number = [&](const char* what) { return context->saved_data.at(name + what).toInt(); };
    return {{number("stride"), number("padding")}, gradients_of(context, name + "gradients"), static_cast<size_t>(number("place"))};
  }
  void leave(const Tensor& dy, const ImagePair& x, const Tensor& w) const { gradients->leave(place, dy, x, w, step); }
};

// w: `weight` as it is applied, with zeros for further channels or as it is. bias: by image. Results: the convolution, and x where it is
// kept.
struct Convolve : Function<Convolve> {
  static variable_list forward(AutogradContext* context, const Tensor& x, const std::optional<Tensor>& more, const Tensor& weight,
                               const Tensor& w, const std::optional<Tensor>& bias, const Convolved& how, bool keep) {
    const Tensor images = ops::joined({x, more ? *more : Tensor()});
    context->save_for_backward({images, w});
    how.save(context, "");
    context->saved_data["channels"] = x.size(1);
    context->saved_data["more"] = more.has_value();
    context->set_materialize_grads(false);
    context->saved_data["bias"] = bias.has_value();
    variable_list results = {ops::convolution({images, {}}, w, how.step, bias ? *bias : Tensor())};
    if (keep) results.push_back(x.detach());
    return results;
  }
  static variable_list backward(AutogradContext* context, const variable_list& upstream) {
    const auto saved = context->get_saved_variables();
    const Tensor &images = saved[0], &w = saved[1], &dy = upstream[0], kept = upstream.size() > 1 ? upstream[1] : Tensor();
    const Convolved how = Convolved::of(context, "");
    const int64_t channels = context->saved_data["channels"].toInt();
    const bool more = context->saved_data["more"].toBool(), bias = context->saved_data["bias"].toBool();
    variable_list result(7);
    if (!dy.defined()) {
      result[0] = kept;
      return result;
    }
    // First what may take its time, so that it starts as soon as the other. Inputs are counted without what is not there.
    if (context->needs_input_grad(more ? 2 : 1)) how.leave(dy, {images, {}}, w);
    if (bias && context->needs_input_grad(more ? 4 : 3)) result[4] = ops::pixel_sums(dy);
    const bool of_more = more && context->needs_input_grad(1);
    if (!of_more && !context->needs_input_grad(0)) return result;
    const auto dx = ops::convolution_backward(dy, {images, {}}, w, how.step, channels, of_more ? images.size(1) - channels : 0, {kept, {}});
    result[0] = dx.first;
    if (of_more) result[1] = dx.second;
    return result;
  }
};

// Two convolutions of the same two images.
struct ConvolveTwice : Function<ConvolveTwice> {
  static variable_list forward(AutogradContext* context, const Tensor& x, const Tensor& more, const Tensor& weight, const Tensor& other,
                               const Convolved& how, const Convolved& other_how) {
    context->save_for_backward({x, more, weight.detach(), other.detach()});
    how.save(context, "");
    other_how.save(context, "other ");
    return {ops::convolution({x, more}, weight, how.step, {}), ops::convolution({x, more}, other, other_how.step, {})};
  }
  static variable_list backward(AutogradContext* context, const variable_list& upstream) {
    const auto saved = context->get_saved_variables();
    const ImagePair x{saved[0], saved[1]};
    const Tensor &w = saved[2], &other = saved[3], &dy = upstream[0], &other_dy = upstream[1];
    const auto how = Convolved::of(context, ""), other_how = Convolved::of(context, "other ");
    if (context->needs_input_grad(2)) how.leave(dy, x, w);
    if (context->needs_input_grad(3)) other_how.leave(other_dy, x, other);
    const int64_t first = x.first.size(1), second = x.second.size(1);
    const auto part = ops::convolution_backward(other_dy, x, other, other_how.step, first, second, {});
    const auto dx = ops::convolution_backward(dy, x, w, how.step, first, second, part);
    return {dx.first, dx.second, Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

}  // namespace

thread_local const SharedWeights* SharedWeights::current_ = nullptr;

SharedWeights::SharedWeights(const std::vector<Tensor>& weights) : outer_(std::exchange(current_, this)) {
  const auto type = Autocast::type(weights.front().device().type(), weights.front().scalar_type());
  for (size_t i = 0; i < weights.size(); ++i) place_.emplace(weights[i].unsafeGetTensorImpl(), i);
  gradients_ = c10::make_intrusive<WeightGradients>(weights);
  cast_ = Share::apply(gradients_, type, at::TensorList(weights));
}

SharedWeights::~SharedWeights() { current_ = outer_; }

// Of a weight that is shared now.
class ConvolutionUse {
 public:
  static std::optional<ConvolutionUse> of(const Tensor& weight) {
    const SharedWeights* shared = SharedWeights::current_;
    if (!shared) return {};
    const auto found = shared->place_.find(weight.unsafeGetTensorImpl());
    if (found == shared->place_.end()) return {};
    return ConvolutionUse(*shared, found->second);
  }
  const Tensor& weight() const { return shared_.cast_[place_]; }
  // weight: as it was cast, perhaps with other sizes. out: the channels of the result, at least those of the weight.
  variable_list operator()(const Tensor& x, const std::optional<Tensor>& more, const Tensor& weight, int64_t out,
                           const std::optional<Tensor>& bias, ops::ConvolutionStep step, bool keep) const {
    const auto type = weight.scalar_type();
    const int64_t in = x.size(1) + (more ? more->size(1) : 0);
    const Tensor w = in > weight.size(1) || out > weight.size(0) || !lies_well(weight) ? as_applied(weight, out, in) : weight;
    return Convolve::apply(x.to(type), more ? std::optional(more->to(type)) : more, weight, w.detach(), bias, how(step), keep);
  }
  Convolved how(ops::ConvolutionStep step) const { return {step, shared_.gradients_, place_}; }

 private:
  ConvolutionUse(const SharedWeights& shared, size_t place) : shared_(shared), place_(place) {}
  // As the activations lie, so that no convolution has to rearrange it.
  bool lies_well(const Tensor& weight) const {
    return !ops::fused(weight.device()) || weight.is_contiguous(at::MemoryFormat::ChannelsLast);
  }
  const Tensor& as_applied(const Tensor& weight, int64_t out, int64_t in) const {
    Tensor& w = shared_.applied_[place_];
    if (!w.defined()) {
      const at::NoGradGuard no_grad;
      const auto layout = ops::fused(weight.device()) ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
      w = at::constant_pad_nd(weight.detach(), {0, 0, 0, 0, 0, in - weight.size(1), 0, out - weight.size(0)}).contiguous(layout);
    }
    return w;
  }

  const SharedWeights& shared_;
  size_t place_;
};

namespace {

// Whether nobody wants gradients, of what runs in the type of autocast.
bool plainly(const Tensor& x) { return !at::GradMode::is_enabled() && at::autocast::is_autocast_enabled(x.device().type()); }
Tensor cast(const Tensor& weight) {
  const auto device = weight.device().type();
  return at::autocast::cached_cast(Autocast::type(device, weight.scalar_type()), weight, device);
}

// With the weight alone, which nobody shares. bias: by image, or undefined.
Tensor plain_convolution(const Tensor& x, const Tensor& weight, const Tensor& bias, ops::ConvolutionStep step) {
  if (!plainly(x)) {
    const Tensor y = at::conv2d(x, weight, {}, step.stride, step.padding);
    return bias.defined() ? ops::add_bias(y, bias, {}) : y;
  }
  const Tensor w = cast(weight);
  return ops::convolution({x.to(w.scalar_type()), {}}, w, step, bias);
}

}  // namespace

Tensor convolution(const Tensor& x, const Tensor& weight, const Tensor& bias, int64_t stride, int64_t padding, at::IntArrayRef sizes) {
  const auto seen = [&](const Tensor& w) { return sizes.empty() ? w : w.view(sizes); };
  if (const auto use = ConvolutionUse::of(weight)) {
    const Tensor w = seen(use->weight());
    return bias.defined() ? at::conv2d(x, w, bias, stride, padding) : (*use)(x, {}, w, w.size(0), {}, {stride, padding}, false)[0];
  }
  if (!bias.defined() && sizes.empty()) return plain_convolution(x, weight, {}, {stride, padding});
  return at::conv2d(x, seen(weight), bias, stride, padding);
}

std::pair<Tensor, Tensor> convolution_and_images(const Tensor& x, const Tensor& weight, int64_t padding) {
  const auto use = ConvolutionUse::of(weight);
  if (!use) return {plain_convolution(x, weight, {}, {1, padding}), x};
  const auto both = (*use)(x, {}, use->weight(), weight.size(0), {}, {1, padding}, true);
  return {both[0], both[1]};
}

std::optional<std::pair<Tensor, Tensor>> convolve_twice(const Tensor& x, const Tensor& more, const Tensor& weight, const Tensor& other) {
  const auto use = ConvolutionUse::of(weight), other_use = ConvolutionUse::of(other);
  if (!(use && other_use) && !plainly(x)) return {};
  const Tensor w = use ? use->weight() : cast(weight), v = other_use ? other_use->weight() : cast(other);
  const auto type = w.scalar_type();
  const ImagePair images{x.to(type), more.to(type)};
  const ops::ConvolutionStep step{1, w.size(2) / 2}, other_step{1, v.size(2) / 2};
  if (!ops::takes_pair(images, w, step) || !ops::takes_pair(images, v, other_step)) return {};
  if (!use || !other_use) return std::pair(ops::convolution(images, w, step, {}), ops::convolution(images, v, other_step, {}));
  const auto both = ConvolveTwice::apply(images.first, images.second, w, v, use->how(step), other_use->how(other_step));
  return std::pair(both[0], both[1]);
}

Tensor padded_convolution(const Tensor& x, const Tensor& weight, int64_t padding) {
  const auto use = ConvolutionUse::of(weight);
  if (!use) return plain_convolution(x, weight, {}, {1, padding});
  return (*use)(x, {}, use->weight(), (weight.size(0) + 15) / 16 * 16, {}, {1, padding}, false)[0];
}

Tensor biased_convolution(const Tensor& x, const Tensor& weight, const Tensor& bias, int64_t padding) {
  if (const auto use = ConvolutionUse::of(weight)) return (*use)(x, {}, use->weight(), weight.size(0), bias, {1, padding}, false)[0];
  return plain_convolution(x, weight, bias, {1, padding});
}

Tensor convolution_of_both(const Tensor& x, const Tensor& more, const Tensor& weight, const Tensor& bias, int64_t padding) {
  if (const auto use = ConvolutionUse::of(weight)) return (*use)(x, more, use->weight(), weight.size(0), bias, {1, padding}, false)[0];
  return plain_convolution(at::cat({x, more.narrow(1, 0, weight.size(1) - x.size(1))}, 1), weight, bias, {1, padding});
}

}  // namespace df::layers
