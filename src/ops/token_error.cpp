// SPDX-License-Identifier: MIT
#include "ops/token_error.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "ops/kernels.hpp"

namespace df::ops {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

// The kernels for tokens of float32.
const ErrorKernels* kernels_for(const TokenMix& mix) {
  return mix.tokens().scalar_type() == at::kFloat ? kernels(mix.tokens().device()).errors : nullptr;
}

// As kernels want predictions: gapless, with all but the first two dimensions as one.
Tensor laid_out(const Tensor& x) {
  const bool fits = x.is_non_overlapping_and_dense() && (x.dim() < 4 || x.flatten(2).is_alias_of(x));
  return fits ? x : x.contiguous();
}

Tensor dense(const Tensor& x) { return x.defined() ? x.contiguous() : x; }
TokenMix dense(const TokenMix& mix) { return {dense(mix.x0), dense(mix.eps), dense(mix.of_x0), dense(mix.of_eps), mix.clip}; }

struct WeightedError : Function<WeightedError> {
  static Tensor forward(AutogradContext* context, const Tensor& prediction, const TokenError& error) {
    const auto& [x0, eps, of_x0, of_eps, clip] = error.target;
    context->save_for_backward({x0, eps, of_x0, of_eps, prediction, error.weight});
    context->saved_data["clip"] = clip;
    return kernels(prediction.device()).errors->weighted_error(error);
  }
  static variable_list backward(AutogradContext* context, const variable_list& upstream) {
    const auto saved = context->get_saved_variables();
    const TokenError error{{saved[0], saved[1], saved[2], saved[3], context->saved_data["clip"].toDouble()}, saved[4], saved[5]};
    return {kernels(error.prediction.device()).errors->weighted_error_backward(error, upstream[0]), Tensor()};
  }
};

}  // namespace

Tensor mix_tokens(const TokenMix& mix) {
  const auto* own = kernels_for(mix);
  return own ? own->mix_tokens(dense(mix)) : plain::mix_tokens(mix);
}

Tensor weighted_error(const TokenError& error) {
  const auto type = error.prediction.scalar_type();
  if (!kernels_for(error.target) || !(type == at::kFloat || type == at::kBFloat16)) return plain::weighted_error(error);
  const Tensor prediction = laid_out(error.prediction);
  return WeightedError::apply(prediction, TokenError{dense(error.target), prediction.detach(), dense(error.weight)});
}

}  // namespace df::ops
