// SPDX-License-Identifier: MIT
// A scheduling matrix compiled to batched steps. Cell (m, t) needs z of (m, t - 1) and x of (m - 1, t); cells that need nothing of
// each other run as one model call, and cells nobody needs do not run.
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

// Which z a finished token hands to the next one.
enum class Finished {
  last_call,  // that of the call that finished it
  reencode,   // that of one more call, on the finished token shown at the stabilisation level
};
template <>
struct EnumNames<Finished> {
  static constexpr std::pair<std::string_view, Finished> table[] = {{"last_call", Finished::last_call}, {"reencode", Finished::reencode}};
};

struct PlanPolicy {
  Unchanged unchanged = Unchanged::hold;
  Finished finished = Finished::last_call;
  int32_t stabilization = 1;  // level at which a finished (clean) token is shown to the network, 0..K
  bool row_order = false;     // one row after the other, cell by cell, every unfinished token included: for observers and rewards of rows
  template <class V>
  void visit(V&& v) {
    v("unchanged", unchanged, "what a token does that keeps its level between rows");
    v("finished", finished, "which latent a finished token hands on");
    v("stabilization", stabilization, "level at which finished tokens are shown to the network");
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

struct Cell {
  int32_t row;    // m
  int32_t token;  // t, counted from the start of the sequence
  int32_t shown;  // level that the network sees
  int32_t from;   // level of x before
  int32_t to;     // level of x after
  CellKind kind;
};

using PlanStep = std::vector<Cell>;  // independent of each other: one batched model call, gathered before anything is scattered

struct Plan {
  int64_t tokens = 0;
  int64_t rows = 0;                                      // M
  std::vector<PlanStep> steps;                           // in order of execution
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
  void push(const ScheduleRow& row);  // windows must not move left
  void finish();                      // no more rows: all steps are released
  bool pop(PlanStep& step);           // next released step; false where there is none yet
  int64_t settled() const;            // tokens at the start of the sequence that no step still to be popped will touch

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The whole plan of a validated matrix.
Plan compile(const SchedulingMatrix& matrix, const PlanPolicy& policy);

}  // namespace df
