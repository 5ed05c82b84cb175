// SPDX-License-Identifier: MIT
#include "ops/convolution.hpp"

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/ivalue.h>
#include <torch/csrc/autograd/custom_function.h>

#include <string>

#include "core/autocast.hpp"
#include "ops/convolution_passes.hpp"
#include "ops/image.hpp"
#include "ops/shared_weights.hpp"
#include "ops/weight_gradients.hpp"

namespace df::ops {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

// What a convolution leaves for its backward pass, in the saved data of its function.
struct Convolved {
  ConvolutionStep step;
  c10::intrusive_ptr<WeightGradients> gradients;
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
    const Tensor images = joined({x, more ? *more : Tensor()});
    context->save_for_backward({images, w});
    how.save(context, "");
    context->saved_data["channels"] = x.size(1);
    context->saved_data["more"] = more.has_value();
    context->set_materialize_grads(false);
    context->saved_data["bias"] = bias.has_value();
    variable_list results = {convolution_forward({images, {}}, w, how.step, bias ? *bias : Tensor())};
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
    if (bias && context->needs_input_grad(more ? 4 : 3)) result[4] = pixel_sums(dy);
    const bool of_more = more && context->needs_input_grad(1);
    if (!of_more && !context->needs_input_grad(0)) return result;
    const auto dx = convolution_backward(dy, {images, {}}, w, how.step, channels, of_more ? images.size(1) - channels : 0, {kept, {}});
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
    return {convolution_forward({x, more}, weight, how.step, {}), convolution_forward({x, more}, other, other_how.step, {})};
  }
  static variable_list backward(AutogradContext* context, const variable_list& upstream) {
    const auto saved = context->get_saved_variables();
    const ImagePair x{saved[0], saved[1]};
    const Tensor &w = saved[2], &other = saved[3], &dy = upstream[0], &other_dy = upstream[1];
    const auto how = Convolved::of(context, ""), other_how = Convolved::of(context, "other ");
    if (context->needs_input_grad(2)) how.leave(dy, x, w);
    if (context->needs_input_grad(3)) other_how.leave(other_dy, x, other);
    const int64_t first = x.first.size(1), second = x.second.size(1);
    const auto part = convolution_backward(other_dy, x, other, other_how.step, first, second, {});
    const auto dx = convolution_backward(dy, x, w, how.step, first, second, part);
    return {dx.first, dx.second, Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

// Of a weight that its sequence shares.
class SharedUse {
 public:
  static std::optional<SharedUse> of(const ConvolutionWeight& weight) {
    if (!weight.shared) return {};
    const auto place = weight.shared->place_of(weight.parameter);
    if (!place) return {};
    return SharedUse(*weight.shared, *place);
  }
  const Tensor& weight() const { return shared_.cast(place_); }
  // weight: as it was cast, perhaps with other sizes. out: the channels of the result, at least those of the weight.
  variable_list operator()(const Tensor& x, const std::optional<Tensor>& more, const Tensor& weight, int64_t out,
                           const std::optional<Tensor>& bias, ConvolutionStep step, bool keep) const {
    const auto type = weight.scalar_type();
    const Tensor w = shared_.applied(place_, weight, out, x.size(1) + (more ? more->size(1) : 0));
    return Convolve::apply(x.to(type), more ? std::optional(more->to(type)) : more, weight, w, bias, how(step), keep);
  }
  Convolved how(ConvolutionStep step) const { return {step, shared_.gradients(), place_}; }

 private:
  SharedUse(const SharedWeights& shared, size_t place) : shared_(shared), place_(place) {}
  const SharedWeights& shared_;
  size_t place_;
};

// Whether nobody wants gradients, of what runs in the type of autocast.
bool plainly(const Tensor& x) { return !at::GradMode::is_enabled() && at::autocast::is_autocast_enabled(x.device().type()); }
Tensor cast(const Tensor& weight) {
  const auto device = weight.device().type();
  return at::autocast::cached_cast(Autocast::type(device, weight.scalar_type()), weight, device);
}

// With the weight alone, which nobody shares. bias: by image, or undefined.
Tensor plain_convolution(const Tensor& x, const Tensor& weight, const Tensor& bias, ConvolutionStep step) {
  if (!plainly(x)) {
    const Tensor y = at::conv2d(x, weight, {}, step.stride, step.padding);
    return bias.defined() ? add_bias(y, bias, {}) : y;
  }
  const Tensor w = cast(weight);
  return convolution_forward({x.to(w.scalar_type()), {}}, w, step, bias);
}

}  // namespace

Tensor convolution(const Tensor& x, const ConvolutionWeight& weight, const Tensor& bias, int64_t stride, int64_t padding,
                   at::IntArrayRef sizes) {
  const auto seen = [&](const Tensor& w) { return sizes.empty() ? w : w.view(sizes); };
  if (const auto use = SharedUse::of(weight)) {
    const Tensor w = seen(use->weight());
    return bias.defined() ? at::conv2d(x, w, bias, stride, padding) : (*use)(x, {}, w, w.size(0), {}, {stride, padding}, false)[0];
  }
  if (!bias.defined() && sizes.empty()) return plain_convolution(x, weight.parameter, {}, {stride, padding});
  return at::conv2d(x, seen(weight.parameter), bias, stride, padding);
}

std::pair<Tensor, Tensor> convolution_and_images(const Tensor& x, const ConvolutionWeight& weight, int64_t padding) {
  const auto use = SharedUse::of(weight);
  if (!use) return {plain_convolution(x, weight.parameter, {}, {1, padding}), x};
  const auto both = (*use)(x, {}, use->weight(), weight.parameter.size(0), {}, {1, padding}, true);
  return {both[0], both[1]};
}

std::optional<std::pair<Tensor, Tensor>> convolve_twice(const Tensor& x, const Tensor& more, const ConvolutionWeight& weight,
                                                        const ConvolutionWeight& other) {
  const auto use = SharedUse::of(weight), other_use = SharedUse::of(other);
  if (!(use && other_use) && !plainly(x)) return {};
  const Tensor w = use ? use->weight() : cast(weight.parameter), v = other_use ? other_use->weight() : cast(other.parameter);
  const auto type = w.scalar_type();
  const ImagePair images{x.to(type), more.to(type)};
  const ConvolutionStep step{1, w.size(2) / 2}, other_step{1, v.size(2) / 2};
  if (!takes_pair(images, w, step) || !takes_pair(images, v, other_step)) return {};
  if (!use || !other_use) return std::pair(convolution_forward(images, w, step, {}), convolution_forward(images, v, other_step, {}));
  const auto both = ConvolveTwice::apply(images.first, images.second, w, v, use->how(step), other_use->how(other_step));
  return std::pair(both[0], both[1]);
}

Tensor padded_convolution(const Tensor& x, const ConvolutionWeight& weight, int64_t padding) {
  const auto use = SharedUse::of(weight);
  if (!use) return plain_convolution(x, weight.parameter, {}, {1, padding});
  return (*use)(x, {}, use->weight(), (weight.parameter.size(0) + 15) / 16 * 16, {}, {1, padding}, false)[0];
}

Tensor biased_convolution(const Tensor& x, const ConvolutionWeight& weight, const Tensor& bias, int64_t padding) {
  if (const auto use = SharedUse::of(weight)) return (*use)(x, {}, use->weight(), weight.parameter.size(0), bias, {1, padding}, false)[0];
  return plain_convolution(x, weight.parameter, bias, {1, padding});
}

Tensor convolution_of_both(const Tensor& x, const Tensor& more, const ConvolutionWeight& weight, const Tensor& bias, int64_t padding) {
  if (const auto use = SharedUse::of(weight)) return (*use)(x, more, use->weight(), weight.parameter.size(0), bias, {1, padding}, false)[0];
  return plain_convolution(at::cat({x, more.narrow(1, 0, weight.parameter.size(1) - x.size(1))}, 1), weight.parameter, bias, {1, padding});
}

}  // namespace df::ops
