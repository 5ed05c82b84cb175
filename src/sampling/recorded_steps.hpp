// SPDX-License-Identifier: MIT
// Steps of a plan as recorded graphs: gather, model, move and scatter, with the cells' numbers and noise read from device memory, so that
// one recording serves every step of its width.
#pragma once

#include <map>
#include <optional>

#include "core/recorded_call.hpp"
#include "diffusion_forcing/sampling/sampler.hpp"
#include "sampling/cell_tables.hpp"

namespace df {

class RecordedSteps {
 public:
  // accelerator: that of the model's device; null: nothing is recorded.
  RecordedSteps(CausalModel& model, const Diffusion& diffusion, const SamplerConfig& config, const Accelerator* accelerator);
  // Runs the step, or returns false where it cannot be recorded: the CPU, tokens that are noised anew or clamped, or a device that refused.
  // noise: may be empty where the solver draws none.
  // Throws what a recording throws while it runs: the buffers may then be half written.
  bool run(const PlanStep& step, const StepBuffers& buffers, const CellNoise& noise);

 private:
  struct Recording {
    Tensor table;  // of its cells, on the device
    Tensor noise;  // [B, width, token...] there; undefined where the solver draws none
    RecordedCall call;
  };
  int64_t padded_width(int64_t cells);
  void execute(const Recording& made, const StepBuffers& buffers) const;
  // Of steps of `width` cells; null where the device refused to record one.
  Recording* recording(int64_t width, const StepBuffers& buffers);

  CausalModel& model_;
  Diffusion diffusion_;
  SamplerConfig config_;
  const Accelerator* accelerator_;
  Refusal refusal_{"sampling goes on without recorded steps", {}};
  std::optional<CellTables> tables_;  // from the first recording on
  std::map<int64_t, Recording> recordings_;
  std::map<int64_t, int> seen_;  // how often a number of cells has come
};

}  // namespace df
