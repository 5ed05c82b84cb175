// SPDX-License-Identifier: MIT
#include "models/shared_weights.hpp"

#include <ATen/ATen.h>
#include <ATen/core/ivalue.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include <map>
#include <tuple>
#include <utility>

#include "core/autocast.hpp"
#include "core/side_stream.hpp"

namespace df::layers {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

namespace {

// Axes of a weight, or of what has its sizes, in the order in which the weight's lie in memory; and back.
bool channels_last(const Tensor& weight) { return !weight.is_contiguous(); }
Tensor as_it_lies(const Tensor& x, const Tensor& weight) { return channels_last(weight) ? x.movedim(1, -1) : x; }
Tensor as_weight(const Tensor& x, const Tensor& weight) { return channels_last(weight) ? x.movedim(-1, 1) : x; }

}  // namespace

// What tokens leave of each weight.
class WeightGradients : public torch::CustomClassHolder {
 public:
  explicit WeightGradients(const std::vector<Tensor>& weights) : side_(weights.front().device()), left_(weights.size()) {
    for (const Tensor& weight : weights) weights_.push_back(weight.detach());
  }

  void leave(size_t place, const std::function<Tensor()>& gradient, std::vector<Tensor> reads) {
    const Tensor& weight = weights_[place];
    const auto flat = [&] { return as_it_lies(gradient().reshape(weight.sizes()), weight).reshape(-1); };
    left_[place].push_back(side_.run(flat, std::move(reads)));
  }

  // Of each weight the sum over tokens in float32; undefined where no token left any. Those that as many tokens left share their kernels.
  variable_list sums() {
    side_.join();
    std::map<size_t, std::vector<size_t>> by_tokens;
    for (size_t i = 0; i < left_.size(); ++i) by_tokens[left_[i].size()].push_back(i);
    variable_list all(left_.size());
    for (const auto& [tokens, places] : by_tokens) {
      if (tokens == 0) continue;
      std::vector<Tensor> parts;
      std::vector<int64_t> lengths;
      for (const size_t place : places) lengths.push_back(weights_[place].numel());
      for (size_t t = 0; t < tokens; ++t)
        for (const size_t place : places) parts.push_back(left_[place][t]);
      const Tensor sum = at::cat(parts).view({static_cast<int64_t>(tokens), -1}).sum(0, /*keepdim=*/false, at::kFloat);
      const auto sums = sum.split_with_sizes(lengths);
      for (size_t i = 0; i < places.size(); ++i) {
        const Tensor& weight = weights_[places[i]];
        all[places[i]] = as_weight(sums[i].view(as_it_lies(weight, weight).sizes()), weight);
      }
    }
    for (auto& of_weight : left_) of_weight.clear();
    return all;
  }

 private:
  SideStream side_;
  std::vector<Tensor> weights_;
  std::vector<std::vector<Tensor>> left_;
};

namespace {

using Gradients = c10::intrusive_ptr<WeightGradients>;

Gradients gradients_of(const AutogradContext* context) {
  return c10::static_intrusive_pointer_cast<WeightGradients>(context->saved_data.at("gradients").toCapsule());
}

// Weights for all tokens. Its backward pass comes after that of every convolution with one of them.
struct Share : Function<Share> {
  static variable_list forward(AutogradContext* context, const Gradients& gradients, at::ScalarType type, at::TensorList weights) {
    context->saved_data["gradients"] = at::IValue::make_capsule(gradients);
    context->set_materialize_grads(false);
    variable_list cast;
    for (const Tensor& weight : weights) cast.push_back(weight.scalar_type() == type ? weight.detach() : weight.to(type));
    return cast;
  }
  static variable_list backward(AutogradContext* context, const variable_list& upstream) {
    variable_list all = gradients_of(context)->sums();
    for (size_t i = 0; i < all.size(); ++i)  // of uses by other operators
      if (upstream[i].defined()) all[i] = all[i].defined() ? all[i] + upstream[i] : upstream[i].to(at::kFloat);
    all.insert(all.begin(), 2, Tensor());  // nothing for `gradients` and `type`
    return all;
  }
};

struct Convolve : Function<Convolve> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& weight, const Gradients& gradients, int64_t place,
                        int64_t stride, int64_t padding) {
    context->save_for_backward({x, weight});
    context->saved_data["gradients"] = at::IValue::make_capsule(gradients);
    context->saved_data["place"] = place;
    context->saved_data["stride"] = stride;
    context->saved_data["padding"] = padding;
    return at::conv2d(x, weight, {}, stride, padding);
  }
  static variable_list backward(AutogradContext* context, const variable_list& upstream) {
    const auto saved = context->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1], dy = upstream[0];
    const int64_t stride = context->saved_data["stride"].toInt(), padding = context->saved_data["padding"].toInt();
    const auto gradient = [=](bool of_x) {
      const auto both = at::convolution_backward(dy, x, weight, at::OptionalIntArrayRef(), at::IntArrayRef{stride, stride},
                                                 at::IntArrayRef{padding, padding}, at::IntArrayRef{1, 1}, false, at::IntArrayRef{0, 0}, 1,
                                                 {of_x, !of_x, false});
      return of_x ? std::get<0>(both) : std::get<1>(both);
    };
    // First what may take its time, so that it starts as soon as the other.
    if (context->needs_input_grad(1))
      gradients_of(context)->leave(static_cast<size_t>(context->saved_data["place"].toInt()), [&] { return gradient(false); }, {x, dy});
    variable_list result(6);
    if (context->needs_input_grad(0)) result[0] = gradient(true);
    return result;
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

Tensor convolution(const Tensor& x, const Tensor& weight, const Tensor& bias, int64_t stride, int64_t padding, at::IntArrayRef sizes) {
  const auto seen = [&](const Tensor& w) { return sizes.empty() ? w : w.view(sizes); };
  if (const SharedWeights* shared = SharedWeights::current_)
    if (const auto found = shared->place_.find(weight.unsafeGetTensorImpl()); found != shared->place_.end()) {
      const Tensor w = seen(shared->cast_[found->second]);
      if (bias.defined()) return at::conv2d(x, w, bias, stride, padding);
      return Convolve::apply(x.to(w.scalar_type()), w, shared->gradients_, static_cast<int64_t>(found->second), stride, padding);
    }
  return at::conv2d(x, seen(weight), bias, stride, padding);
}

}  // namespace df::layers
