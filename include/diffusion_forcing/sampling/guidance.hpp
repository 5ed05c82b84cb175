// SPDX-License-Identifier: MIT
// Sampling guided by a reward of all tokens, row by row: by the gradient of the row's own clean predictions (Dhariwal & Nichol 2021), by
// that of many sampled futures (Monte Carlo Tree Guidance; Chen et al. 2024, section 3.3), or without a gradient by resampling.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "diffusion_forcing/core/enum_names.hpp"
#include "diffusion_forcing/core/tensor.hpp"
#include "diffusion_forcing/sampling/sampler.hpp"

namespace df {

// Clean tokens of a whole row [B, T, token...] -> reward of each sequence [B]. Differentiable unless GuidanceForm::resample is used.
using Reward = std::function<Tensor(const Tensor& x0)>;

enum class GuidanceForm {
  gradient,  // x' += coefficient * d value / dx after each move
  resample,  // the branches are particles of the whole sequence: those that promise more are copied, the others dropped
};
template <>
struct EnumNames<GuidanceForm> {
  static constexpr std::pair<std::string_view, GuidanceForm> table[] = {{"gradient", GuidanceForm::gradient},
                                                                        {"resample", GuidanceForm::resample}};
};

enum class GuidanceCoefficient {
  exact,     // of DDIM under eps - sqrt(1 - a) grad: has the factor sqrt(a' / a)
  released,  // of the authors' code, without that factor
};
template <>
struct EnumNames<GuidanceCoefficient> {
  static constexpr std::pair<std::string_view, GuidanceCoefficient> table[] = {{"exact", GuidanceCoefficient::exact},
                                                                               {"released", GuidanceCoefficient::released}};
};

// What is climbed, of the rewards r_1..r_R of the branches; the same for one branch, which is guided too much: its reward is taken for
// certain.
enum class BranchValue {
  expected,  // scale * mean r: the paper's expected reward
  soft,      // log mean exp(scale * r): samples then follow p(x) exp(scale * r(x)), exactly so with many branches and looks ahead
};
template <>
struct EnumNames<BranchValue> {
  static constexpr std::pair<std::string_view, BranchValue> table[] = {{"expected", BranchValue::expected}, {"soft", BranchValue::soft}};
};

// The section `guidance` of a planner.
struct GuidanceConfig {
  GuidanceForm form = GuidanceForm::gradient;
  double scale = 1.0;  // of the reward; 0: no guidance
  GuidanceCoefficient coefficient = GuidanceCoefficient::exact;
  int64_t branches = 1;   // R sampled futures of each partly denoised present, or particles
  int64_t lookahead = 1;  // denoising steps of each token of a branch; 1: the row's own clean predictions, one future without chance
  BranchValue value = BranchValue::expected;
  template <class V>
  void visit(V&& v) {
    v("form", form, "gradient: of the branches' value; resample: copies of the best particles, for rewards without gradient");
    v("scale", scale, "of the reward, 0: no guidance");
    v("coefficient", coefficient, "exact: of DDIM; released: of the authors' code");
    v("branches", branches, "sampled futures of each partly denoised present");
    v("lookahead", lookahead, "denoising steps of each token of a branch, 1: the row's own clean predictions");
    v("value", value, "expected: mean reward of the branches; soft: log mean exp");
  }
};
// Throws df::Error naming "<section>.<key>": branches without chance, resampling without noise.
void validate(const GuidanceConfig& config, const SamplerConfig& sampler, const std::string& section);

// A reward and how it guides.
struct Guidance {
  Reward reward;
  GuidanceConfig config;
  uint64_t seed = 0;      // of the branches' noise
  bool additive = false;  // the reward is a sum over tokens: it is shown the unfinished ones alone, the others' share being constant
};

// g(from, to): x' += scale * g * d reward / dx. [N]; 0 where from == to.
// exact: sqrt(1-a) (sqrt(a'/a) sqrt(1-a) - sqrt(1-a'-sigma^2)); released: (1-a) - sqrt(1-a'-sigma^2) sqrt(1-a), and 0 where to == 0.
Tensor guidance_coefficient(GuidanceCoefficient kind, const NoiseSchedule& schedule, const Tensor& from, const Tensor& to, double eta);

// Guided by gradient. A branch draws, from the latent before the first unfinished token, each token in turn: from its level in this row to
// clean in `lookahead` steps of DDPM, handing on the latent of the last call. Finished tokens before the first unfinished one and their
// latents are shared by all branches; those behind it are shown at level 1. The branches' noise is drawn for the whole batch: with
// branches, a sequence's sample depends on how many others there are.
// On a device that records, rows of an additive reward are recorded once per number of unfinished tokens; an object that is kept
// keeps the recordings, and tensors that the reward refers to must stay where they are.
class GuidedSampler {
 public:
  GuidedSampler(CausalModel& model, const Diffusion& diffusion, const SamplerConfig& config, Guidance guidance);
  // `plan` must be in row order, and the model must be a recurrent one (history() == 1). Gradients flow from the rewards of later tokens to
  // earlier ones through z within a row. Throws df::Error where the reward is not [B] or not finite.
  SampleOutput sample(const Plan& plan, const SampleInput& input, const RowObserver& on_row = {});
  void set_seed(uint64_t seed);  // of the next call's branches
  ~GuidedSampler();
  GuidedSampler(GuidedSampler&&) noexcept;
  GuidedSampler& operator=(GuidedSampler&&) noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};
// The same, with a sampler that is used once.
SampleOutput sample_guided(CausalModel& model, const Diffusion& diffusion, const Plan& plan, const SamplerConfig& config,
                           const Guidance& guidance, const SampleInput& input, const RowObserver& on_row = {});

// Guided by resampling (sequential Monte Carlo with the potential exp(scale * reward of the clean predictions); Wu et al. 2023): R
// particles a sequence, drawn anew by their weights where the effective number falls below half (1.5 of two). x [B, R, T, token...], z [B,
// R, latent...], log_weight [B, R], normalised: weighted, they follow p(x) exp(scale * r(x)) as R grows. input.x holds the first particle's
// initial noise; all other noise is drawn from `seed` for the whole batch, and input.noise is not used.
struct Particles {
  Tensor x, z, log_weight, reward;  // reward [B, R] of the finished tokens
};
// Samples `config.branches` particles for each sequence.
Particles sample_particles(CausalModel& model, const Diffusion& diffusion, const Plan& plan, const SamplerConfig& config,
                           const Guidance& guidance, const SampleInput& input);

}  // namespace df
