// SPDX-License-Identifier: MIT
#include "training/team_sum.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <set>
#include <utility>

#include "diffusion_forcing/core/error.hpp"

namespace df {

TeamSum::TeamSum(std::shared_ptr<const Team> team, NamedTensors parameters) : team_(std::move(team)), parameters_(std::move(parameters)) {}

void TeamSum::agree(const std::vector<Tensor>& gradients) {
  const Tensor ranks = at::zeros({static_cast<int64_t>(gradients.size())}, at::kLong);  // that have a gradient of each parameter
  auto* const count = ranks.mutable_data_ptr<int64_t>();
  for (size_t i = 0; i < gradients.size(); ++i) count[i] = gradients[i].defined();
  team_->sum({ranks});
  for (size_t i = 0; i < gradients.size(); ++i) summed_.push_back(count[i] > 0);
}

void TeamSum::operator()(std::vector<Tensor>& gradients, Tensor& loss) {
  if (team_->alone()) return;
  const at::NoGradGuard no_grad;
  if (summed_.empty()) agree(gradients);
  std::vector<Tensor> tensors;
  std::set<const void*> seen;  // two parameters may share one gradient, which must not be summed twice
  for (size_t i = 0; i < gradients.size(); ++i) {
    Tensor& gradient = gradients[i];
    const auto& [name, parameter] = parameters_[i];
    if (!summed_[i]) {
      if (gradient.defined())
        throw Error(fmt::format(
            "parameter {}: expected no gradient, as in the first step, got one; a team of ranks needs the same in all steps", name));
      continue;
    }
    // All ranks must lay out a gradient alike.
    if (!gradient.defined())
      gradient = at::zeros_like(parameter);
    else if (gradient.strides() != parameter.strides() || !seen.insert(gradient.const_data_ptr()).second)
      gradient = at::empty_like(parameter).copy_(gradient);
    tensors.push_back(gradient);
  }
  loss = loss.clone();
  tensors.push_back(loss);
  team_->sum(tensors);
}

}  // namespace df
