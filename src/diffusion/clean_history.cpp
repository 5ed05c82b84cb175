// SPDX-License-Identifier: MIT
#include "diffusion/clean_history.hpp"

#include <ATen/ATen.h>

#include <vector>

#include "diffusion_forcing/models/causal_model.hpp"

namespace df {

namespace {

// [B, T, rest...] -> [B * T, rest...]; undefined stays undefined.
Tensor as_cells(const Tensor& sequence) { return sequence.defined() ? sequence.flatten(0, 1) : sequence; }

}  // namespace

Tensor predict_after(CausalModel& model, const Tensor& x, const Tensor& k, const Tensor& c, const Tensor& z, const Tensor& chain) {
  const int64_t tokens = x.size(1);
  if (model.history() == 1) {                                                           // all tokens in one call
    const Tensor before = at::cat({z.unsqueeze(1), chain.slice(1, 0, tokens - 1)}, 1);  // z_{t-1}
    return model.step(as_cells(x), as_cells(k), as_cells(c), as_cells(before)).prediction.view(x.sizes());
  }
  std::vector<Tensor> predictions;
  for (int64_t t = 0; t < tokens; ++t) {
    const Tensor before = t == 0 ? z : model.latent_after(z, chain.slice(1, 0, t));
    predictions.push_back(model.step(x.select(1, t), k.select(1, t), c.defined() ? c.select(1, t) : c, before).prediction);
  }
  return at::stack(predictions, 1);
}

}  // namespace df
