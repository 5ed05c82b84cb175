// SPDX-License-Identifier: MIT
#include "sampling/row_workers.hpp"

#include <ATen/ATen.h>
#include <ATen/ThreadLocalState.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "diffusion_forcing/core/error.hpp"

namespace df {

TokenOutput RowWorkers::step(CausalModel& model, const Tensor& x, const Tensor& k, const Tensor& c, const Tensor& z) {
  if (c10::GradMode::is_enabled()) throw Error("sampling: rows are shared among workers without gradients only");
  const int64_t rows = x.size(0), parts = std::min(rows, pool_.size());
  if (parts == 1) return model.step(x, k, c, z);
  std::vector<TokenOutput> outputs(static_cast<size_t>(parts));
  const at::ThreadLocalState state;  // gradient mode, autocast
  pool_.run([&](int64_t worker) {
    if (worker >= parts) return;
    const at::ThreadLocalStateGuard same_as_caller(state);
    const int64_t begin = worker * rows / parts, end = (worker + 1) * rows / parts;
    const auto part = [&](const Tensor& tensor) { return tensor.defined() ? tensor.slice(0, begin, end) : tensor; };
    outputs[static_cast<size_t>(worker)] = model.step(part(x), part(k), part(c), part(z));
  });
  std::vector<Tensor> predictions, latents;
  for (const auto& output : outputs) {
    predictions.push_back(output.prediction);
    latents.push_back(output.z);
  }
  return {at::cat(predictions), at::cat(latents)};
}

}  // namespace df
