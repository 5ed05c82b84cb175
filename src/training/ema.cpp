// SPDX-License-Identifier: MIT
#include "diffusion_forcing/training/ema.hpp"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "diffusion_forcing/core/error.hpp"

namespace df {

Ema::Ema(double decay, const std::vector<std::pair<std::string, Tensor>>& parameters) : decay_(decay), parameters_(parameters) {
  if (!(decay >= 0.0 && decay < 1.0)) throw Error("ema: expected a decay in [0, 1), got " + std::to_string(decay));
  for (const auto& [name, parameter] : parameters_) {
    if (!parameter.is_floating_point()) throw Error("ema: " + name + ": expected a floating point tensor, got " + parameter.toString());
    shadow_.emplace_back(name, parameter.detach().clone());
  }
  if (!shadow_.empty()) weight_ = at::zeros({}, shadow_[0].second.options().dtype(at::kFloat));
}

void Ema::set_step(int64_t n) {
  const double decay = std::min(decay_, (1.0 + static_cast<double>(n)) / (10.0 + static_cast<double>(n)));
  host_weight_ = 1.0 - decay;
  if (!weight_.defined() || weight_.is_cpu()) return;
  const at::NoGradGuard no_grad;
  weight_.fill_(host_weight_);
}

void Ema::update() {
  if (parameters_.empty()) return;
  const at::NoGradGuard no_grad;
  std::vector<Tensor> shadow, parameters;
  for (size_t i = 0; i < shadow_.size(); ++i) {
    shadow.push_back(shadow_[i].second);
    parameters.push_back(parameters_[i].second);
  }
  if (weight_.is_cpu()) return at::_foreach_lerp_(shadow, parameters, host_weight_);
  // A weight given as a host number would be frozen into a recorded graph.
  auto change = at::_foreach_sub(parameters, shadow);
  at::_foreach_mul_(change, weight_);
  at::_foreach_add_(shadow, change);
}

void Ema::update(int64_t n) {
  set_step(n);
  update();
}

void Ema::swap() {
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < shadow_.size(); ++i) {
    const auto held = parameters_[i].second.clone();
    parameters_[i].second.copy_(shadow_[i].second);
    shadow_[i].second.copy_(held);
  }
}

}  // namespace df
