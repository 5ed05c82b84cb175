// SPDX-License-Identifier: MIT
#include "diffusion_forcing/sampling/plan.hpp"

#include <algorithm>
#include <limits>

#include "diffusion_forcing/core/error.hpp"

namespace df {

namespace {

// What made the z that a token hands on: its own tokens' version, the level shown, the version of the z that came in.
struct CallKey {
  int64_t x = -1, shown = -1, z = -1;
  bool operator==(const CallKey&) const = default;
};

struct TokenState {
  int32_t level = -1;  // of x after the rows so far; -1: not seen yet
  int64_t x_version = 0;
  int64_t z_version = -1;  // of the z handed on; -1: none yet
  CallKey key;             // of the call that made it
  int64_t last_step = -1;  // of the token's last cell
};

}  // namespace

int64_t Plan::cells() const {
  int64_t count = 0;
  for (const PlanStep& step : steps) count += static_cast<int64_t>(step.size());
  return count;
}

int64_t Plan::width() const {
  size_t widest = 0;
  for (const PlanStep& step : steps) widest = std::max(widest, step.size());
  return static_cast<int64_t>(widest);
}

struct PlanBuilder::State {
  PlanPolicy policy;
  std::vector<int32_t> ladder;
  std::deque<TokenState> tokens;  // from `base` on
  int64_t base = 0;               // first token that may still run
  TokenState left;                // token base - 1
  int64_t row = 0, version = 0;
  int64_t next_in_row_order = 0;
  std::deque<PlanStep> steps;  // from `first_step` on
  int64_t first_step = 0;
  int64_t closed = 0;  // steps below are complete
  bool finished = false;

  TokenState& token(int64_t t) { return t < base ? left : tokens[static_cast<size_t>(t - base)]; }
  bool exists(int64_t t) const { return t < base + static_cast<int64_t>(tokens.size()); }

  bool reference() const { return policy.unchanged == Unchanged::reference || policy.unchanged == Unchanged::reference_planner; }

  // A cell under the authors' policy: unfinished tokens always take the next step of the ladder, finished ones the last.
  void follow_reference(Cell& cell) const {
    if (cell.from == ladder.back()) cell.kind = CellKind::restep;
    if (cell.from == 0) {
      cell.from = cell.shown = ladder[1];
      if (policy.unchanged == Unchanged::reference_planner) cell.kind = CellKind::encode;
    }
    cell.to = *(std::lower_bound(ladder.begin(), ladder.end(), cell.from) - 1);
  }

  Cell make_cell(int64_t t, int32_t from, int32_t to) const {
    Cell cell{static_cast<int32_t>(row), static_cast<int32_t>(t), from, from, to, CellKind::update};
    if (reference())
      follow_reference(cell);
    else if (from == 0) {
      cell.kind = CellKind::encode;
      cell.shown = policy.stabilization;
    } else if (from == to)
      cell.kind = policy.unchanged == Unchanged::resample ? CellKind::resample : CellKind::encode;
    return cell;
  }

  // Whether the cell runs in any case, not only for the z that it hands on.
  bool wanted(const Cell& cell) const { return cell.kind != CellKind::encode || (policy.row_order && cell.from > 0) || reference(); }

  // A finished token whose last call's z is the one to hand on.
  bool latched(const Cell& cell) const { return cell.kind == CellKind::encode && cell.from == 0 && policy.finished == Finished::last_call; }

  int64_t choose_step(int64_t t) {
    if (policy.row_order) return next_in_row_order++;
    int64_t step = token(t).last_step + 1;
    if (t > 0) step = std::max(step, token(t - 1).last_step + 1);      // z that comes in
    if (exists(t + 1)) step = std::max(step, token(t + 1).last_step);  // reads the z that this cell replaces; the same step gathers first
    return step;
  }

  void schedule(const Cell& cell) {
    TokenState& state = token(cell.token);
    const CallKey key{state.x_version, cell.shown, cell.token > 0 ? token(cell.token - 1).z_version : 0};
    if (!wanted(cell) && (state.key == key || (latched(cell) && state.z_version >= 0))) return;
    const int64_t step = choose_step(cell.token);
    while (first_step + static_cast<int64_t>(steps.size()) <= step) steps.emplace_back();
    steps[static_cast<size_t>(step - first_step)].push_back(cell);
    state.last_step = step;
    state.z_version = ++version;
    state.key = key;
    if (cell.kind != CellKind::encode) ++state.x_version;
  }

  // Whether later rows may run the token again.
  bool may_run(int64_t t) {
    const TokenState& state = token(t);
    if (state.level != 0) return true;
    if (reference()) return true;  // until its window has passed
    if (policy.finished == Finished::last_call) return false;
    const int64_t z = t > 0 ? token(t - 1).z_version : 0;
    return !(state.key == CallKey{state.x_version, policy.stabilization, z}) || (t > base && may_run(t - 1));
  }

  void drop_finished(int64_t window_first) {
    while (!tokens.empty() && (reference() ? base < window_first : !may_run(base))) {
      left = tokens.front();
      tokens.pop_front();
      ++base;
    }
  }

  void close_steps() {
    if (policy.row_order || finished) {
      closed = first_step + static_cast<int64_t>(steps.size());
      return;
    }
    // The earliest step that a later row could still use. A token that has not run yet starts after the one on its left.
    int64_t earliest = std::numeric_limits<int64_t>::max();
    int64_t from_left = left.last_step + 1;
    for (int64_t t = base; exists(t); ++t) {
      if (token(t).last_step >= 0) from_left = token(t).last_step + 1;
      if (may_run(t)) earliest = std::min(earliest, from_left);
    }
    closed = std::max(closed, std::min(earliest, from_left));
  }
};

PlanBuilder::PlanBuilder(const PlanPolicy& policy, std::vector<int32_t> ladder) : state_(std::make_unique<State>()) {
  state_->policy = policy;
  if (state_->reference() && ladder.size() < 2)
    throw Error("plan: policy 'reference' needs the ladder of sampling steps, got " + std::to_string(ladder.size()) + " levels");
  if (state_->reference()) state_->policy.row_order = true;
  state_->ladder = std::move(ladder);
}

PlanBuilder::~PlanBuilder() = default;

void PlanBuilder::push(const ScheduleRow& row) {
  State& s = *state_;
  const int64_t end = row.first + static_cast<int64_t>(row.from.size());
  s.drop_finished(row.first);
  while (s.base + static_cast<int64_t>(s.tokens.size()) < end) s.tokens.emplace_back();
  std::vector<Cell> cells;
  for (int64_t t = s.base; t < end; ++t) {
    const int64_t i = t - row.first;
    const int32_t from = i < 0 ? 0 : row.from[static_cast<size_t>(i)], to = i < 0 ? 0 : row.to[static_cast<size_t>(i)];
    cells.push_back(s.make_cell(t, from, to));
    s.token(t).level = to;
  }
  // A cell runs if it is wanted or if a cell on its right runs.
  while (!cells.empty() && !s.wanted(cells.back())) cells.pop_back();
  for (const Cell& cell : cells) s.schedule(cell);
  ++s.row;
  s.drop_finished(row.first);
  s.close_steps();
}

void PlanBuilder::finish() {
  state_->finished = true;
  state_->close_steps();
}

bool PlanBuilder::pop(PlanStep& step) {
  State& s = *state_;
  while (s.first_step < s.closed && !s.steps.empty()) {
    step = std::move(s.steps.front());
    s.steps.pop_front();
    ++s.first_step;
    if (!step.empty()) return true;
  }
  return false;
}

int64_t PlanBuilder::settled() const {
  const State& s = *state_;
  if (s.finished && s.steps.empty()) return s.base + static_cast<int64_t>(s.tokens.size());
  int64_t count = s.base;
  for (const PlanStep& step : s.steps)
    for (const Cell& cell : step) count = std::min<int64_t>(count, cell.token);
  return count;
}

Plan compile(const SchedulingMatrix& matrix, const PlanPolicy& policy) {
  PlanBuilder builder(policy, ladder_of(matrix));
  Plan plan{matrix.tokens, matrix.rows - 1, {}};
  PlanStep step;
  RowSource rows = matrix_rows(matrix, matrix.tokens);
  while (const auto row = rows()) {
    builder.push(*row);
    while (builder.pop(step)) plan.steps.push_back(std::move(step));
  }
  builder.finish();
  while (builder.pop(step)) plan.steps.push_back(std::move(step));
  return plan;
}

}  // namespace df
