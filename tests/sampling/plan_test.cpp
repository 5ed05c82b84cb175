// SPDX-License-Identifier: MIT
// Plans without a model: order of cells, what runs and what does not, counts against the theory.
#include "diffusion_forcing/sampling/plan.hpp"

#include <gtest/gtest.h>

#include <map>

namespace df {
namespace {

// Every cell's inputs must come from earlier steps, and nothing it still needs may be overwritten before it has run.
void check_order(const Plan& plan) {
  std::map<int32_t, int64_t> last_step;  // of each token's cells so far
  std::map<int32_t, int32_t> last_row;
  for (size_t s = 0; s < plan.steps.size(); ++s) {
    for (const Cell& cell : plan.steps[s]) {
      if (last_step.count(cell.token)) {
        EXPECT_LT(last_step[cell.token], static_cast<int64_t>(s)) << "token " << cell.token << " runs twice in a step";
        EXPECT_LT(last_row[cell.token], cell.row);
      }
      if (cell.token > 0) {
        ASSERT_TRUE(last_step.count(cell.token - 1)) << "row " << cell.row << " token " << cell.token << " has no z";
        EXPECT_LT(last_step[cell.token - 1], static_cast<int64_t>(s));
        EXPECT_LE(last_row[cell.token - 1], cell.row) << "z of a later row";
      }
    }
    for (const Cell& cell : plan.steps[s]) {
      last_step[cell.token] = static_cast<int64_t>(s);
      last_row[cell.token] = cell.row;
    }
  }
}

TEST(Plan, AutoregressiveRunsEachTokenSTimes) {
  const int64_t S = 10, T = 12;
  const Plan plan = compile(make_matrix(MatrixKind::autoregressive, T, ladder(100, S), 1), {});
  EXPECT_EQ(plan.cells(), S * T);
  EXPECT_EQ(plan.width(), 1);
  EXPECT_EQ(plan.naive_cells(), S * T * T);
  check_order(plan);
}

TEST(Plan, ReencodingAddsOneCellAToken) {
  PlanPolicy policy;
  policy.finished = Finished::reencode;
  const Plan plan = compile(make_matrix(MatrixKind::autoregressive, 12, ladder(100, 10), 1), policy);
  EXPECT_EQ(plan.cells(), 12 * 10 + 11);  // nobody needs the last one's
  for (const PlanStep& step : plan.steps)
    for (const Cell& cell : step)
      if (cell.kind == CellKind::encode) {
        EXPECT_EQ(cell.shown, policy.stabilization);
      }
}

TEST(Plan, PyramidCollapsesToAWavefront) {
  const int64_t S = 100, T = 250;
  const Plan plan = compile(make_matrix(MatrixKind::pyramid, T, ladder(1000, S), 1), {});
  EXPECT_EQ(plan.cells(), S * T);
  EXPECT_EQ(static_cast<int64_t>(plan.steps.size()), 2 * (T - 1) + S);  // 598
  EXPECT_EQ(plan.width(), 50);
  check_order(plan);
}

TEST(Plan, FullSequenceRunsDiagonally) {
  const Plan plan = compile(make_matrix(MatrixKind::full_sequence, 9, ladder(1000, 50), 1), {});
  EXPECT_EQ(plan.cells(), 450);
  EXPECT_EQ(static_cast<int64_t>(plan.steps.size()), 50 + 8);
  EXPECT_EQ(plan.width(), 9);
  check_order(plan);
}

TEST(Plan, WaitingTokensRunOnlyForThoseBehindThem) {
  // The right end of a trapezoid moves first and needs z through the waiting middle.
  const Plan plan = compile(make_matrix(MatrixKind::trapezoid, 5, ladder(10, 2), 1), {});
  check_order(plan);
  int64_t encoded = 0;
  for (const PlanStep& step : plan.steps)
    for (const Cell& cell : step) encoded += cell.kind == CellKind::encode;
  EXPECT_GT(encoded, 0);
  EXPECT_LT(plan.cells(), plan.naive_cells());
  // Tokens right of the last one that moves never run.
  const Plan autoregressive = compile(make_matrix(MatrixKind::autoregressive, 5, ladder(10, 2), 1), {});
  for (const PlanStep& step : autoregressive.steps)
    for (const Cell& cell : step) EXPECT_EQ(cell.kind, CellKind::update);
}

TEST(Plan, ReferenceRunsEveryCell) {
  PlanPolicy policy;
  policy.unchanged = Unchanged::reference;
  const Plan plan = compile(make_matrix(MatrixKind::pyramid, 6, ladder(100, 10), 1), policy);
  EXPECT_EQ(plan.cells(), plan.naive_cells());
  check_order(plan);
}

TEST(PlanBuilder, StreamsTheSamePlanInConstantMemory) {
  const auto levels = ladder(100, 10);
  for (const double slope : {0.5, 1.0, 2.0, 10.0})
    for (const Finished finished : {Finished::last_call, Finished::reencode}) {
      PlanPolicy policy;
      policy.finished = finished;
      const int64_t T = 200;
      const Plan whole = compile(make_matrix(MatrixKind::pyramid, T, levels, slope), policy);
      PlanBuilder builder(policy);
      RowSource rows = pyramid_rows(T, levels, slope);
      std::vector<PlanStep> steps;
      PlanStep step;
      int64_t held = 0, pushed = 0;
      while (const auto row = rows()) {
        builder.push(*row);
        for (size_t i = 0; i < row->from.size(); ++i) pushed += 1;
        while (builder.pop(step)) {
          pushed -= static_cast<int64_t>(step.size());
          steps.push_back(step);
        }
        held = std::max(held, pushed);
        const int64_t oldest = builder.settled();
        EXPECT_LE(row->first - oldest, 60) << "slope " << slope;
      }
      builder.finish();
      while (builder.pop(step)) steps.push_back(step);
      EXPECT_EQ(builder.settled(), T);
      EXPECT_LT(held, 400) << "slope " << slope << ": " << held << " cells waited to be released";
      ASSERT_EQ(steps.size(), whole.steps.size()) << "slope " << slope;
      for (size_t s = 0; s < steps.size(); ++s) {
        ASSERT_EQ(steps[s].size(), whole.steps[s].size()) << "slope " << slope << " step " << s;
        for (size_t i = 0; i < steps[s].size(); ++i) {
          EXPECT_EQ(steps[s][i].token, whole.steps[s][i].token);
          EXPECT_EQ(steps[s][i].from, whole.steps[s][i].from);
        }
      }
    }
}

}  // namespace
}  // namespace df
