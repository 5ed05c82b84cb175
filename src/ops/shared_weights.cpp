// SPDX-License-Identifier: MIT
#include "ops/shared_weights.hpp"

#include <ATen/ATen.h>
#include <ATen/core/ivalue.h>
#include <torch/csrc/autograd/custom_function.h>

#include "core/autocast.hpp"
#include "ops/image_layout.hpp"
#include "ops/weight_gradients.hpp"

namespace df::ops {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Weights for all tokens. Its backward pass comes after that of every convolution with one of them.
struct Share : torch::autograd::Function<Share> {
  static variable_list forward(AutogradContext* context, const c10::intrusive_ptr<WeightGradients>& gradients, at::ScalarType type,
                               at::TensorList weights) {
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

// As the activations lie, so that no convolution has to rearrange it.
bool lies_well(const Tensor& weight) { return !fused(weight.device()) || weight.is_contiguous(at::MemoryFormat::ChannelsLast); }

}  // namespace

SharedWeights::SharedWeights(const std::vector<Tensor>& weights) {
  const auto type = Autocast::type(weights.front().device().type(), weights.front().scalar_type());
  for (size_t i = 0; i < weights.size(); ++i) place_.emplace(weights[i].unsafeGetTensorImpl(), i);
  gradients_ = c10::make_intrusive<WeightGradients>(weights);
  cast_ = Share::apply(gradients_, type, at::TensorList(weights));
}

SharedWeights::~SharedWeights() = default;

std::optional<size_t> SharedWeights::place_of(const Tensor& weight) const {
  const auto found = place_.find(weight.unsafeGetTensorImpl());
  return found == place_.end() ? std::nullopt : std::optional(found->second);
}

Tensor SharedWeights::applied(size_t place, const Tensor& seen, int64_t out, int64_t in) const {
  if (in <= seen.size(1) && out <= seen.size(0) && lies_well(seen)) return seen.detach();
  Tensor& w = applied_[place];
  if (!w.defined()) {
    const at::NoGradGuard no_grad;
    const auto layout = fused(seen.device()) ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
    w = at::constant_pad_nd(seen.detach(), {0, 0, 0, 0, 0, in - seen.size(1), 0, out - seen.size(0)}).contiguous(layout);
  }
  return w.detach();
}

}  // namespace df::ops
