// SPDX-License-Identifier: MIT
#include "sampling/recorded_steps.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/upload.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "sampling/cells.hpp"

namespace df {

RecordedSteps::RecordedSteps(CausalModel& model, const Diffusion& diffusion, const SamplerConfig& config, const Accelerator* accelerator)
    : model_(model), diffusion_(diffusion), config_(config), accelerator_(accelerator) {}

// Few widths, since each costs a recording: powers of four, and those that keep coming back as they are.
int64_t RecordedSteps::padded_width(int64_t cells) {
  constexpr int often = 16;
  if (++seen_[cells] >= often) return cells;
  int64_t width = 1;
  while (width < cells) width *= 4;
  return width;
}

void RecordedSteps::execute(const Recording& made, const StepBuffers& buffers) const {
  const ops::CellInputs in = ops::gather_cells(made.table, buffers.x, buffers.z);
  const Tensor c = buffers.c.defined() ? buffers.c.index_select(1, made.table[CellTable::token]).flatten(0, 1) : Tensor();
  const TokenOutput output = step_as_it_is(config_.precision, model_, in.shown, in.level, c, in.z);
  ops::move_cells(made.table, {in.shown, output.prediction, output.z, made.noise}, tables_->bounds(), buffers.x, buffers.z);
}

RecordedSteps::Recording* RecordedSteps::recording(int64_t width, const StepBuffers& buffers) {
  auto& found = recordings_[width];
  if (!found.call.recorded()) {
    // All cells on the spare slots while it warms up: the plan's own must not run more than once.
    if (!tables_) tables_.emplace(diffusion_, config_);
    found.table = tables_->of({}, width, buffers.slots()).to(accelerator_->device());
    if (config_.draws_noise()) found.noise = at::zeros(buffers.cells(width), buffers.x.options());
    found.call.record(
        *accelerator_, [&] { execute(found, buffers); }, {}, refusal_);
  }
  return found.call.recorded() ? &found : nullptr;
}

bool RecordedSteps::run(const PlanStep& step, const StepBuffers& buffers, const CellNoise& noise) {
  const bool special = std::any_of(step.begin(), step.end(), [](const Cell& cell) {
    return cell.kind == CellKind::resample || cell.kind == CellKind::restep;  // noises the token anew, or clamps it
  });
  if (!accelerator_ || special || !refusal_.reason.empty()) return false;
  const auto cells = static_cast<int64_t>(step.size());
  Tensor drawn;
  if (config_.draws_noise()) drawn = clipped_noise(step, noise, diffusion_.config.clip_noise, buffers.cells(cells));
  const int64_t width = padded_width(cells);
  Recording* made = recording(width, buffers);
  if (!made) return false;
  upload(tables_->of(step, width, buffers.slots()), made->table);
  if (drawn.defined()) upload(drawn, made->noise.narrow(1, 0, cells));
  made->call.replay();
  return true;
}

}  // namespace df
