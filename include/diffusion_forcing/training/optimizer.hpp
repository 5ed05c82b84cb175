// SPDX-License-Identifier: MIT
// AdamW (Loshchilov & Hutter 2019) with fused updates, gradient clipping, and the learning rate as a pure function of the step.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "diffusion_forcing/core/enum_names.hpp"
#include "diffusion_forcing/core/tensor.hpp"

namespace df {

enum class Decay { constant, cosine };
template <>
struct EnumNames<Decay> {
  static constexpr std::pair<std::string_view, Decay> table[] = {{"constant", Decay::constant}, {"cosine", Decay::cosine}};
};

// The optimiser's keys of the section `training`.
struct OptimizerConfig {
  double learning_rate = 2e-4;
  int64_t warmup = 1000;  // steps of linear warm-up; the first step runs at learning_rate / warmup
  Decay decay = Decay::constant;
  double final_ratio = 0.03;  // of learning_rate at the last step, cosine
  double weight_decay = 2e-3;
  double beta1 = 0.9, beta2 = 0.99;
  double eps = 1e-8;
  double clip = 1.0;  // global gradient norm, 0: no clipping
  template <class V>
  void visit(V&& v) {
    v("learning_rate", learning_rate, "peak learning rate");
    v("warmup", warmup, "steps of linear warm-up");
    v("decay", decay, "learning rate after the warm-up");
    v("final_ratio", final_ratio, "share of the learning rate left at the last step (cosine)");
    v("weight_decay", weight_decay, "decoupled weight decay");
    v("beta1", beta1, "decay of the first moment");
    v("beta2", beta2, "decay of the second moment");
    v("eps", eps, "added to the root of the second moment");
    v("clip", clip, "bound of the global gradient norm, 0: none");
  }
};

// Throws df::Error naming "<section>.<key>" for values out of range.
void validate(const OptimizerConfig& config, const std::string& section = "training");

// Rate of step n (from 0) of `steps`: rises linearly over the warm-up, then stays, or falls along a half cosine to
// final_ratio * learning_rate at step steps - 1.
double learning_rate(const OptimizerConfig& config, int64_t n, int64_t steps);

// Nothing here waits for the device. To record step(gradients) into a graph, call set_rate() before each replay, outside of it, and
// bump the versions of the parameters after it (TensorImpl::bump_version): a replay changes them without autograd's knowledge, and models
// keep what follows from their weights until a version changes.
class AdamW {
 public:
  AdamW(const OptimizerConfig& config, std::vector<std::pair<std::string, Tensor>> parameters);
  // Learning rate of the steps that follow.
  void set_rate(double rate);
  // Clips `gradients` (one per parameter, in order, changed in place; undefined: no gradient, the parameter stays) and updates the
  // parameters. Returns the global norm before clipping, a scalar on the parameters' device.
  Tensor step(std::vector<Tensor>& gradients);
  Tensor step(std::vector<Tensor>& gradients, double rate);  // set_rate, then step
  // Copies of "<name>.exp_avg", "<name>.exp_avg_sq" and "step" (float32 scalar).
  std::map<std::string, Tensor> state() const;
  // Strict: throws df::Error listing every missing, unexpected and mis-shaped entry, and changes nothing.
  void load_state(const std::map<std::string, Tensor>& state);

 private:
  std::map<std::string, Tensor> entries() const;  // of the state, by name, not copied
  OptimizerConfig config_;
  std::vector<std::string> names_;
  std::vector<Tensor> parameters_, exp_avg_, exp_avg_sq_;
  Tensor step_, rate_;  // scalars on the parameters' device
  double host_rate_ = 0.0;
};

}  // namespace df
