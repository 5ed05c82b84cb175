// SPDX-License-Identifier: MIT
#include "ops/recompute.hpp"

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/ivalue.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include <memory>
#include <utility>

#include "core/autocast.hpp"

namespace df::ops {

namespace {

using torch::autograd::variable_list;
using Work = TokenRunner::Work;

struct Holder : torch::CustomClassHolder {
  explicit Holder(Work held) : work(std::move(held)) {}
  Work work;
};

struct RecomputedToken : torch::autograd::Function<RecomputedToken> {
  // all: the inputs of the work, then the parameters.
  static variable_list forward(torch::autograd::AutogradContext* context, const Work& work, int64_t inputs, at::TensorList list) {
    const variable_list all = list.vec();
    const auto device = all.front().device().type();
    const bool autocast = at::autocast::is_autocast_enabled(device);
    context->save_for_backward(all);
    context->saved_data["inputs"] = inputs;
    context->saved_data["autocast"] = autocast;
    context->saved_data["work"] = at::IValue::make_capsule(c10::make_intrusive<Holder>(work));
    // Casts made here carry no gradient, so nobody may find them in the cache later.
    const Autocast uncached(device, autocast, false);
    return work({all.begin(), all.begin() + inputs});
  }

  static variable_list backward(torch::autograd::AutogradContext* context, const variable_list& gradients) {
    const variable_list all = context->get_saved_variables();
    const int64_t inputs = context->saved_data["inputs"].toInt();
    const auto holder = c10::static_intrusive_pointer_cast<Holder>(context->saved_data["work"].toCapsule());
    variable_list again, wanted;
    std::vector<size_t> places;
    for (size_t i = 0; i < all.size(); ++i) {
      const bool input = static_cast<int64_t>(i) < inputs;
      const at::Tensor tensor = input ? all[i].detach().set_requires_grad(all[i].requires_grad()) : all[i];
      if (input) again.push_back(tensor);
      if (!tensor.requires_grad()) continue;
      wanted.push_back(tensor);
      places.push_back(i);
    }
    const at::AutoGradMode with_gradients(true);
    variable_list outputs;
    {
      const Autocast uncached(all.front().device().type(), context->saved_data["autocast"].toBool(), false);
      outputs = holder->work(again);
    }
    const variable_list found = torch::autograd::grad(outputs, wanted, gradients, std::nullopt, false, /*allow_unused=*/true);
    variable_list result(2 + all.size());  // nothing for `work` and `inputs`
    for (size_t i = 0; i < places.size(); ++i) result[2 + places[i]] = found[i];
    return result;
  }
};

}  // namespace

TokenRunner::Tensors TokenRunner::operator()(const Work& work, const Tensors& inputs) const {
  if (!recompute_ || !at::GradMode::is_enabled()) return work(inputs);
  Tensors all = inputs;
  all.insert(all.end(), parameters_.begin(), parameters_.end());
  return RecomputedToken::apply(work, static_cast<int64_t>(inputs.size()), at::TensorList(all));
}

}  // namespace df::ops
