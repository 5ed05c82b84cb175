// SPDX-License-Identifier: MIT
// The executor of plans: buffers of tokens and latents, and the execution of one step on them, which is gather, model, transition, scatter.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "diffusion_forcing/sampling/sampler.hpp"
#include "sampling/entry_ring.hpp"

namespace df {

class CellPlans;
class RecordedSteps;
class RowWorkers;

// Rings of slots; what sample() and RolloutStream share. A finished token that is encoded again is shown at the stabilisation level s as
// sqrt(alpha_bar_s) x, without noise.
class StepExecutor {
 public:
  // slots: how many successive tokens are held at a time; token t lives in slot t % slots.
  StepExecutor(CausalModel& model, const Diffusion& diffusion, const SamplerConfig& config, int64_t batch, int64_t slots);
  ~StepExecutor();
  StepExecutor(const StepExecutor& other);  // has buffers, recordings and workers of its own

  int64_t slots() const { return slots_; }
  // More slots, keeping tokens first .. first + old slots - 1 and the latents before and after them.
  void grow(int64_t slots, int64_t first);
  void set_token(int64_t token, const Tensor& x);      // x [B, token...]
  void set_condition(int64_t token, const Tensor& c);  // c [B, C]
  void start(const Tensor& z);                         // z before token 0
  Tensor token(int64_t token) const;                   // [B, token...], a view
  Tensor latent(int64_t token) const;                  // z before `token`, a view
  void run(const PlanStep& step, const CellNoise& noise);

  // z before token `end` if the clean tokens first .. end - 1, which are held, were encoded at `level` after what z holds before `first`.
  // Nothing changes.
  Tensor encode(int64_t first, int64_t end, int64_t level) const;

  int64_t bytes() const;  // of the buffers

 private:
  struct Gathered {
    Tensor x, c;  // [B, n, token...], [B, n, C] or undefined
  };
  Tensor slots_of(const PlanStep& step) const;
  Gathered gather(const PlanStep& step) const;
  void scatter(const PlanStep& step, const Tensor& x);
  void record_on_these_buffers();

  CausalModel& model_;
  Diffusion diffusion_;  // on the model's device
  SamplerConfig config_;
  std::unique_ptr<RowWorkers> workers_;  // null: none, or no step has run yet
  std::unique_ptr<CellPlans> plans_;
  int64_t batch_, slots_;
  // [B, slots + 1, token...], [B, slots + 2, latent...], [B, slots + 1, C]: the last slot of each takes what is not wanted. Slot t % (slots
  // + 1) of z holds z before token t; undefined for models that attend.
  Tensor x_, z_, c_;
  std::optional<EntryRing> entries_;         // for models that attend
  std::unique_ptr<RecordedSteps> recorded_;  // of these buffers
};

}  // namespace df
