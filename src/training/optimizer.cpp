// SPDX-License-Identifier: MIT
#include "diffusion_forcing/training/optimizer.hpp"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/require.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/shape.hpp"

namespace df {

namespace {

// The fused kernels walk the storage of parameter and gradient side by side, so both must be laid out alike.
Tensor laid_out_like(const Tensor& gradient, const Tensor& parameter) {
  return gradient.strides() == parameter.strides() ? gradient : at::empty_like(parameter).copy_(gradient);
}

// Scales the gradients in place to a global norm of at most `bound`, without waiting for the device. Returns the norm before.
Tensor clip_gradients(const std::vector<Tensor>& gradients, double bound) {
  const auto norm = at::stack(at::_foreach_norm(gradients)).norm();
  if (bound > 0.0) at::_foreach_mul_(gradients, (bound / (norm + 1e-6)).clamp_max(1.0));
  return norm;
}

}  // namespace

void validate(const OptimizerConfig& c, const std::string& section) {
  const Require require(section);
  require.positive("learning_rate", c.learning_rate);
  require(c.warmup >= 0, "warmup", "at least 0 steps", c.warmup);
  require(c.final_ratio >= 0.0 && c.final_ratio <= 1.0, "final_ratio", "a number in [0, 1]", c.final_ratio);
  require.number_at_least("weight_decay", c.weight_decay, 0);
  require(c.beta1 >= 0.0 && c.beta1 < 1.0, "beta1", "a number in [0, 1)", c.beta1);
  require(c.beta2 >= 0.0 && c.beta2 < 1.0, "beta2", "a number in [0, 1)", c.beta2);
  require.positive("eps", c.eps);
  require.number_at_least("clip", c.clip, 0);
}

double learning_rate(const OptimizerConfig& config, int64_t n, int64_t steps) {
  if (n < config.warmup) return config.learning_rate * static_cast<double>(n + 1) / static_cast<double>(config.warmup);
  if (config.decay == Decay::constant) return config.learning_rate;
  const int64_t last = steps - 1;
  const double done =
      last > config.warmup ? std::min(1.0, static_cast<double>(n - config.warmup) / static_cast<double>(last - config.warmup)) : 1.0;
  const double share = 0.5 * (1.0 + std::cos(std::numbers::pi * done));
  return config.learning_rate * (config.final_ratio + (1.0 - config.final_ratio) * share);
}

AdamW::AdamW(const OptimizerConfig& config, std::vector<std::pair<std::string, Tensor>> parameters) : config_(config) {
  validate(config, "OptimizerConfig");
  if (parameters.empty()) throw Error("optimizer: no parameters");
  const at::NoGradGuard no_grad;
  for (auto& [name, parameter] : parameters) {
    if (!parameter.is_non_overlapping_and_dense()) throw Error("optimizer: " + name + ": expected a dense tensor");
    names_.push_back(name);
    parameters_.push_back(parameter);
    exp_avg_.push_back(at::zeros_like(parameter));
    exp_avg_sq_.push_back(at::zeros_like(parameter));
  }
  step_ = at::zeros({}, at::TensorOptions(parameters_[0].device()).dtype(at::kFloat));
  rate_ = at::zeros_like(step_);
  set_rate(config.learning_rate);
}

void AdamW::set_rate(double rate) {
  host_rate_ = rate;
  if (!rate_.is_cpu()) rate_.fill_(rate);
}

Tensor AdamW::step(std::vector<Tensor>& gradients) {
  if (gradients.size() != parameters_.size())
    throw Error(fmt::format("optimizer: expected {} gradients, got {}", parameters_.size(), gradients.size()));
  const at::NoGradGuard no_grad;
  std::vector<Tensor> p, g, m, v;
  for (size_t i = 0; i < gradients.size(); ++i) {
    if (!gradients[i].defined()) continue;
    check_shape(gradients[i], "gradient of " + names_[i], parameters_[i].sizes().vec());
    gradients[i] = laid_out_like(gradients[i], parameters_[i]);
    p.push_back(parameters_[i]);
    g.push_back(gradients[i]);
    m.push_back(exp_avg_[i]);
    v.push_back(exp_avg_sq_[i]);
  }
  if (g.empty()) return at::zeros_like(step_);
  const auto norm = clip_gradients(g, config_.clip);
  step_.add_(1.0);
  const std::vector<Tensor> steps(p.size(), step_);
  const auto& c = config_;
  // A rate given as a host number would be frozen into a recorded graph; the CPU kernel has no use for a tensor.
  if (rate_.is_cpu())
    at::_fused_adamw_(p, g, m, v, {}, steps, host_rate_, c.beta1, c.beta2, c.weight_decay, c.eps, false, false);
  else
    at::_fused_adamw_(p, g, m, v, {}, steps, rate_, c.beta1, c.beta2, c.weight_decay, c.eps, false, false);
  return norm;
}

Tensor AdamW::step(std::vector<Tensor>& gradients, double rate) {
  set_rate(rate);
  return step(gradients);
}

std::map<std::string, Tensor> AdamW::entries() const {
  std::map<std::string, Tensor> entries{{"step", step_}};
  for (size_t i = 0; i < names_.size(); ++i) {
    entries[names_[i] + ".exp_avg"] = exp_avg_[i];
    entries[names_[i] + ".exp_avg_sq"] = exp_avg_sq_[i];
  }
  return entries;
}

std::map<std::string, Tensor> AdamW::state() const {
  auto state = entries();
  for (auto& [name, tensor] : state) tensor = tensor.clone();
  return state;
}

void AdamW::load_state(const std::map<std::string, Tensor>& state) {
  const auto own = entries();
  std::string wrong;
  for (const auto& [name, tensor] : own) {
    const auto found = state.find(name);
    if (found == state.end())
      wrong += "\n  missing: " + name;
    else if (found->second.sizes() != tensor.sizes())
      wrong += fmt::format("\n  shape of {}: expected {}, got {}", name, to_string(tensor.sizes().vec()),
                           to_string(found->second.sizes().vec()));
  }
  for (const auto& [name, tensor] : state)
    if (!own.count(name)) wrong += "\n  unexpected: " + name;
  if (!wrong.empty()) throw Error("optimizer state does not fit:" + wrong);
  const at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : own) tensor.copy_(state.at(name));
}

}  // namespace df
