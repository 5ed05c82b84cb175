// SPDX-License-Identifier: MIT
#include "diffusion_forcing/sampling/plan.hpp"

#include <algorithm>
#include <limits>

#include "diffusion_forcing/core/error.hpp"

namespace df {

namespace {

// What made the z that a token hands on: the version of its x, the level shown, the version of the window of z that came in.
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
  std::deque<TokenState> tokens;  // from `kept` on
  int64_t kept = 0;               // `history` tokens before `base`, whose z is read
  int64_t base = 0;               // first token that may still run
  int64_t row = 0, version = 0;
  Cell last_in_order{-1, -1, 0, 0, 0, CellKind::encode};  // that was scheduled where rows run one after the other
  int64_t next_in_order = 0;
  std::deque<PlanStep> steps;  // from `first_step` on
  int64_t first_step = 0;
  int64_t closed = 0;  // steps below are complete
  bool finished = false;

  int64_t end() const { return kept + static_cast<int64_t>(tokens.size()); }
  TokenState& token(int64_t t) { return tokens[static_cast<size_t>(t - kept)]; }
  const TokenState& token(int64_t t) const { return tokens[static_cast<size_t>(t - kept)]; }

  // Of the z that a token reads. Versions only rise, so the largest one of the window changes whenever one of them does.
  int64_t window_version(int64_t t) const {
    int64_t newest = 0;
    for (int64_t u = std::max<int64_t>(0, t - policy.history); u < t; ++u) newest = std::max(newest, token(u).z_version);
    return newest;
  }

  bool reference() const { return keeps_running(policy.unchanged); }

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

  bool in_order() const { return policy.row_order || policy.history > 1; }

  // Rows run one after the other: cell by cell, or in runs of successive cells.
  int64_t next_step_in_order(const Cell& cell) {
    const bool joins = !policy.row_order && last_in_order.row == cell.row && last_in_order.token + 1 == cell.token;
    last_in_order = cell;
    return joins ? next_in_order - 1 : next_in_order++;
  }

  int64_t choose_step(const Cell& cell) {
    if (in_order()) return next_step_in_order(cell);
    const int64_t t = cell.token;
    int64_t step = std::max(closed, token(t).last_step + 1);
    if (t > 0) step = std::max(step, token(t - 1).last_step + 1);      // z that comes in
    if (t + 1 < end()) step = std::max(step, token(t + 1).last_step);  // reads the z that this cell replaces; the same step gathers first
    return step;
  }

  void schedule(const Cell& cell) {
    TokenState& state = token(cell.token);
    const CallKey key{state.x_version, cell.shown, window_version(cell.token)};
    if (!wanted(cell) && (state.key == key || (latched(cell) && state.z_version >= 0))) return;
    const int64_t step = choose_step(cell);
    while (first_step + static_cast<int64_t>(steps.size()) <= step) steps.emplace_back();
    steps[static_cast<size_t>(step - first_step)].push_back(cell);
    state.last_step = step;
    state.z_version = ++version;
    state.key = key;
    if (cell.kind != CellKind::encode) ++state.x_version;
  }

  // Whether later rows may run the token again. running: the nearest token on its left that they may run, or -1.
  bool may_run(int64_t t, int64_t running) const {
    const TokenState& state = token(t);
    if (state.level != 0) return true;
    if (reference()) return true;  // until its window has passed
    if (policy.finished == Finished::last_call) return false;
    const bool other_window = running >= std::max(base, t - policy.history);
    return other_window || !(state.key == CallKey{state.x_version, policy.stabilization, window_version(t)});
  }

  void drop_finished(int64_t window_first) {
    while (base < end() && (reference() ? base < window_first : !may_run(base, -1))) ++base;
    for (; kept < base - policy.history; ++kept) tokens.pop_front();
  }

  void close_steps() {
    if (in_order() || finished) {
      closed = first_step + static_cast<int64_t>(steps.size());
      return;
    }
    // The earliest step that a later row could still use. A token that has not run yet starts after the one on its left.
    int64_t earliest = std::numeric_limits<int64_t>::max(), running = -1;
    int64_t from_left = (base > 0 ? token(base - 1).last_step : -1) + 1;
    for (int64_t t = base; t < end(); ++t) {
      if (token(t).last_step >= 0) from_left = token(t).last_step + 1;
      if (!may_run(t, running)) continue;
      running = t;
      earliest = std::min(earliest, from_left);
    }
    closed = std::max(closed, std::min(earliest, from_left));
  }

  // `count`, or the smallest token of a step still to be popped for which `touches` holds.
  template <class Touches>
  int64_t before_waiting_steps(int64_t count, const Touches& touches) const {
    for (const PlanStep& step : steps)
      for (const Cell& cell : step)
        if (touches(cell)) count = std::min<int64_t>(count, cell.token);
    return count;
  }
};

PlanBuilder::PlanBuilder(const PlanPolicy& policy, std::vector<int32_t> ladder) : state_(std::make_unique<State>()) {
  if (policy.history < 1) throw Error("plan: expected a history of at least 1 token, got " + std::to_string(policy.history));
  state_->policy = policy;
  if (state_->reference() && ladder.size() < 2)
    throw Error("plan: policy 'reference' needs the ladder of sampling steps, got " + std::to_string(ladder.size()) + " levels");
  if (state_->reference()) state_->policy.row_order = true;
  state_->ladder = std::move(ladder);
}

PlanBuilder::~PlanBuilder() = default;
PlanBuilder::PlanBuilder(const PlanBuilder& other) : state_(std::make_unique<State>(*other.state_)) {}

void PlanBuilder::push(const ScheduleRow& row) {
  State& s = *state_;
  const int64_t end = row.first + static_cast<int64_t>(row.from.size());
  s.drop_finished(row.first);
  while (s.end() < end) s.tokens.emplace_back();
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

void PlanBuilder::pass(int64_t first) { state_->drop_finished(first); }

void PlanBuilder::release() { state_->closed = state_->first_step + static_cast<int64_t>(state_->steps.size()); }

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

int64_t PlanBuilder::tokens() const { return state_->end(); }

int64_t PlanBuilder::clean() const {
  const State& s = *state_;
  if (s.reference()) return settled();  // finished tokens move again until their window has passed
  int64_t count = s.base;
  while (count < s.end() && s.token(count).level == 0) ++count;
  return s.before_waiting_steps(count, [](const Cell& cell) { return cell.kind != CellKind::encode; });
}

int64_t PlanBuilder::latched() const {
  return state_->before_waiting_steps(state_->base, [](const Cell&) { return true; });
}

int64_t PlanBuilder::settled() const {
  const State& s = *state_;
  return s.finished && s.steps.empty() ? s.end() : latched();
}

Plan compile(const SchedulingMatrix& matrix, const PlanPolicy& policy) {
  PlanBuilder builder(policy, ladder_of(matrix));
  Plan plan{matrix.tokens, matrix.rows - 1, {}, policy.history};
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
