// SPDX-License-Identifier: MIT
// A scheduling matrix compiled to batched steps. Cell (m, t) needs z of (m, t - 1) and x of (m - 1, t), and with an attending model z of
// (m, t - W) .. (m, t - 1). Cells that need nothing of each other run as one model call (a wavefront over several rows of the matrix);
// with an attending model, successive cells of one row do, since only they can hand their z on within a call. Cells nobody needs do not
// run. "Row" is a row of the matrix here and in all of this room; a batch has sequences.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "diffusion_forcing/core/enum_names.hpp"
#include "diffusion_forcing/sampling/scheduling_matrix.hpp"

namespace df {

// What happens to a token that keeps its level between two rows.
enum class Unchanged {
  hold,               // nothing; it runs only where a token behind it needs its z
  resample,           // denoised and noised again to its level (paper, appendix); finished tokens are held
  reference,          // the authors' code: waiting tokens take the first step again, finished ones the last, in every row; in row order
  reference_planner,  // the authors' planner: as reference, but finished tokens keep their value and only pass z on
};
template <>
struct EnumNames<Unchanged> {
  static constexpr std::pair<std::string_view, Unchanged> table[] = {{"hold", Unchanged::hold},
                                                                     {"resample", Unchanged::resample},
                                                                     {"reference", Unchanged::reference},
                                                                     {"reference_planner", Unchanged::reference_planner}};
};

// Whether finished tokens run in every row of their window, and hand on the z of their last call there.
inline bool keeps_running(Unchanged unchanged) { return unchanged == Unchanged::reference || unchanged == Unchanged::reference_planner; }

// Which z a finished token hands to the next one.
enum class Finished {
  last_call,  // that of the call that finished it
  reencode,   // that of one more call, on the finished token shown at the stabilisation level
};
template <>
struct EnumNames<Finished> {
  static constexpr std::pair<std::string_view, Finished> table[] = {{"last_call", Finished::last_call}, {"reencode", Finished::reencode}};
};

// What a plan does with tokens that keep their level or are finished.
struct PlanPolicy {
  Unchanged unchanged = Unchanged::hold;
  Finished finished = Finished::last_call;
  int32_t stabilization = 1;  // level at which a finished (clean) token is shown to the network, 0..K
  bool row_order = false;     // one row after the other, cell by cell, every unfinished token included: for observers and rewards of rows
  int64_t history = 1;        // W of the model that the plan is for: CausalModel::history()
  template <class V>
  void visit(V&& v) {
    v("unchanged", unchanged, "a token that keeps its level: hold; resample noises it anew; reference(_planner) steps as the authors do");
    v("finished", finished, "latent that a finished token hands on: of its last_call, or of one more on the clean token (reencode)");
    v("stabilization", stabilization, "level at which contexts and reencoded tokens are shown to the network");
  }
};

enum class CellKind : uint8_t {
  update,    // x moves from level `from` to level `to`
  restep,    // the authors' first step, which waiting tokens take again and again: an update after x is clamped to +- clip_noise
  resample,  // x is denoised and noised again to `from`
  encode,    // only z is wanted; x stays
};

// Whether x goes to another level.
inline bool moves(CellKind kind) { return kind == CellKind::update || kind == CellKind::restep; }

// One evaluation of the network: a token in a row of the matrix.
struct Cell {
  int32_t row;    // m
  int32_t token;  // t, counted from the start of the sequence
  int32_t shown;  // level that the network sees
  int32_t from;   // level of x before
  int32_t to;     // level of x after
  CellKind kind;
};

// One batched model call. For a recurrent model the cells are independent of each other, and all are gathered before anything is scattered;
// for an attending one they are successive tokens of a row.
using PlanStep = std::vector<Cell>;

// A compiled matrix: steps to be run one after the other.
struct Plan {
  int64_t tokens = 0;
  int64_t rows = 0;                                      // M
  std::vector<PlanStep> steps;                           // in order of execution
  int64_t history = 1;                                   // W of the models that may run it
  int64_t cells() const;                                 // model evaluations
  int64_t width() const;                                 // of the widest step
  int64_t naive_cells() const { return rows * tokens; }  // what a loop over rows and tokens would run
};

// Compiles rows as they come and releases steps as soon as no later row can add to them: memory is bounded by the width of the
// schedule's window, not by its length.
class PlanBuilder {
 public:
  explicit PlanBuilder(const PlanPolicy& policy, std::vector<int32_t> ladder = {});  // the ladder is needed by Unchanged::reference
  ~PlanBuilder();
  PlanBuilder(const PlanBuilder& other);  // goes on from the same place
  void push(const ScheduleRow& row);      // windows must not move left
  void pass(int64_t first);               // rows to come will start at token `first` or later
  void finish();                          // no more rows: all steps are released
  void release();                         // all steps so far, without waiting for cells of later rows that could join them
  bool pop(PlanStep& step);               // next released step; false where there is none yet

  // Counts of tokens at the start of the sequence, each of what holds once all steps popped so far have run:
  int64_t tokens() const;   // rows so far have named it
  int64_t clean() const;    // x is final
  int64_t latched() const;  // x is final, and so is z, whatever rows come
  int64_t settled() const;  // no step still to be popped will touch them: latched, or all once finished

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The whole plan of a validated matrix.
Plan compile(const SchedulingMatrix& matrix, const PlanPolicy& policy);

}  // namespace df
