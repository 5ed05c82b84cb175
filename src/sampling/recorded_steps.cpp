// SPDX-License-Identifier: MIT
#include "sampling/recorded_steps.hpp"

#include <ATen/ATen.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <exception>

#include "sampling/cells.hpp"

namespace df {

namespace {

enum Row : int64_t { token, z_in, z_out, x_out, shown, from, to, rows };

// [7, width] of a step; what is over works on the spare slots.
Tensor cell_table(const PlanStep& step, int64_t width, int64_t slots) {
  Tensor table = at::empty({rows, width}, at::kLong);
  const int64_t spare[rows] = {slots, slots + 1, slots + 1, slots, 1, 1, 1};
  for (int64_t row = 0; row < rows; ++row) table[row].fill_(spare[row]);
  int64_t* const values = table.mutable_data_ptr<int64_t>();
  for (size_t i = 0; i < step.size(); ++i) {
    const Cell& cell = step[i];
    const auto set = [&](Row row, int64_t value) { values[row * width + static_cast<int64_t>(i)] = value; };
    set(token, cell.token % slots);
    set(z_in, cell.token % (slots + 1));
    set(z_out, (cell.token + 1) % (slots + 1));
    set(x_out, cell.kind == CellKind::encode ? slots : cell.token % slots);
    set(shown, cell.shown);
    set(from, cell.from);
    set(to, moves(cell.kind) ? cell.to : cell.from);
  }
  return table;
}

// Through page-locked memory, so that the copy waits in the device's queue and not here.
void upload(const Tensor& from, const Tensor& into) {
  into.copy_(from.is_cpu() && !into.is_cpu() ? from.pin_memory() : from, /*non_blocking=*/true);
}

}  // namespace

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
  const Tensor& cells = made.cells;
  const Tensor x = buffers.x.index_select(1, cells[token]), z = buffers.z.index_select(1, cells[z_in]);
  const Tensor c = buffers.c.defined() ? buffers.c.index_select(1, cells[token]) : Tensor();
  const CellPlan plan = plan_levels(cells[shown], cells[from], cells[to], diffusion_, config_, x.select(0, 0));
  const CellOutput output = run_cells(model_, diffusion_, plan, x, c, z, made.noise);
  buffers.x.index_copy_(1, cells[x_out], output.x.to(at::kFloat));
  buffers.z.index_copy_(1, cells[z_out], output.z.to(at::kFloat));
}

RecordedSteps::Recording& RecordedSteps::recording(int64_t width, const StepBuffers& buffers) {
  auto& found = recordings_[width];
  if (!found.graph) {
    // All cells on the spare slots while it warms up: the plan's own must not run more than once.
    found.cells = cell_table({}, width, buffers.slots()).to(accelerator_->device());
    std::vector<int64_t> sizes = buffers.x.sizes().vec();
    sizes[1] = width;
    if (config_.draws_noise()) found.noise = at::zeros(sizes, buffers.x.options());
    found.graph = accelerator_->capture([&] { execute(found, buffers); });
  }
  return found;
}

bool RecordedSteps::run(const PlanStep& step, const StepBuffers& buffers, const CellNoise& noise) {
  const bool special = std::any_of(step.begin(), step.end(), [](const Cell& cell) {
    return cell.kind == CellKind::resample || cell.kind == CellKind::restep;  // noises the token anew, or clamps it
  });
  if (!accelerator_ || special) return false;
  const auto cells = static_cast<int64_t>(step.size());
  Tensor drawn;
  if (config_.draws_noise()) {
    std::vector<int64_t> sizes = buffers.x.sizes().vec();
    sizes[1] = cells;
    drawn = clipped_noise(step, noise, diffusion_.config.clip_noise, sizes);
  }
  try {
    const int64_t width = padded_width(cells);
    Recording& made = recording(width, buffers);
    if (made.graph) {
      upload(cell_table(step, width, buffers.slots()), made.cells);
      if (drawn.defined()) upload(drawn, made.noise.narrow(1, 0, cells));
      made.graph->replay();
      return true;
    }
  } catch (const std::exception& error) {
    const std::string message = error.what();
    spdlog::warn("sampling goes on without recorded steps: {}", message.substr(0, message.find('\n')));
  }
  accelerator_ = nullptr;
  return false;
}

}  // namespace df
