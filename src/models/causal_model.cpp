// SPDX-License-Identifier: MIT
#include "diffusion_forcing/models/causal_model.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "diffusion_forcing/core/error.hpp"
#include "ops/recompute.hpp"

namespace df {

SequenceOutput CausalModel::unroll(const Tensor& x, const Tensor& k, const Tensor& c, const Tensor& z) {
  const int64_t tokens = x.size(1);
  std::vector<Tensor> predictions, latents;
  const ops::TokenRunner run(*this, recompute_);
  const ops::TokenRunner::Work work = [this](const std::vector<Tensor>& in) -> std::vector<Tensor> {
    const TokenOutput out = step(in[0], in[1], in.size() > 3 ? in[3] : Tensor(), in[2]);
    return {out.prediction, out.z};
  };
  Tensor latent = z;
  for (int64_t t = 0; t < tokens; ++t) {
    std::vector<Tensor> inputs = {x.select(1, t), k.select(1, t), latent};
    if (c.defined()) inputs.push_back(c.select(1, t));
    const auto out = run(work, inputs);
    predictions.push_back(out[0]);
    latents.push_back(out[1]);
    latent = latent_after(latent, out[1].unsqueeze(1));
  }
  return {at::stack(predictions, 1), at::stack(latents, 1)};
}

Tensor CausalModel::latent_after(const Tensor& z, const Tensor& after) const {
  if (history() == 1) return after.select(1, after.size(1) - 1);
  const Tensor window = at::cat({z, after}, 1);
  const int64_t count = std::min(window.size(1), history());
  return window.narrow(1, window.size(1) - count, count);
}

void CausalModel::check_latent(const Tensor& z, int64_t batch, std::string_view name) const {
  if (history() == 1) return check_shape(z, name, shape({batch}, latent_shape()));
  check_shape(z, name, shape({batch, -1}, latent_shape()));
  if (z.size(1) > history())
    throw Error(fmt::format("{}: expected a window of at most {} tokens (history), got {}", name, history(), z.size(1)));
}

at::Device CausalModel::device() const {
  const auto all = parameters();
  if (all.empty()) throw Error("model: has no parameters, so no device");
  return all.front().device();
}

int64_t CausalModel::parameter_count() const {
  int64_t count = 0;
  for (const auto& parameter : parameters()) count += parameter.numel();
  return count;
}

void CausalModel::check_inputs(const Shape& leading, const Tensor& x, const Tensor& k, const Tensor& c, const Tensor& z) const {
  check_shape(x, "x", shape(leading, token_shape()));
  check_shape(k, "k", leading);
  if (condition_dim() > 0) check_shape(c, "c", shape(leading, {condition_dim()}));
  check_latent(z, leading.front(), "z");
}

}  // namespace df
