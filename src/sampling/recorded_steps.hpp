// SPDX-License-Identifier: MIT
// Steps of a plan as recorded graphs: gather, model, transition and scatter, with cells, levels and noise read from device memory, so
// that one recording serves every step of its width.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "diffusion_forcing/core/accelerator.hpp"
#include "diffusion_forcing/sampling/sampler.hpp"

namespace df {

// What a step works on: the buffers of a StepExecutor, each with one more slot at the end that nobody reads.
struct StepBuffers {
  Tensor x, z, c;  // [B, slots + 1, token...], [B, slots + 2, latent...], [B, slots + 1, C] or undefined
  int64_t slots() const { return x.size(1) - 1; }
};

class RecordedSteps {
 public:
  // accelerator: that of the model's device; null: nothing is recorded.
  RecordedSteps(CausalModel& model, const Diffusion& diffusion, const SamplerConfig& config, const Accelerator* accelerator);
  // Runs the step, or returns false where it cannot be recorded: the CPU, tokens that are noised anew or clamped, or a device that refused.
  // noise: may be empty where the solver draws none.
  bool run(const PlanStep& step, const StepBuffers& buffers, const CellNoise& noise);

 private:
  struct Recording {
    Tensor cells;  // int64 [7, width] on the device
    Tensor noise;  // [B, width, token...] there; undefined where the solver draws none
    std::unique_ptr<Graph> graph;
  };
  int64_t padded_width(int64_t cells);
  void execute(const Recording& made, const StepBuffers& buffers) const;
  Recording& recording(int64_t width, const StepBuffers& buffers);

  CausalModel& model_;
  const Diffusion& diffusion_;
  SamplerConfig config_;
  const Accelerator* accelerator_;
  std::map<int64_t, Recording> recordings_;
  std::map<int64_t, int> seen_;  // how often a number of cells has come
};

}  // namespace df
