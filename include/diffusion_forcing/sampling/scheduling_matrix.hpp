// SPDX-License-Identifier: MIT
// Scheduling matrices: noise levels, M + 1 rows by T tokens, walked from the top (all K) to the bottom (all 0).
// Chen et al. 2024, section 3.2 and figure 2. Entries are noise levels, never positions in the ladder of steps.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "diffusion_forcing/core/enum_names.hpp"

namespace df {

enum class MatrixKind {
  full_sequence,   // all tokens together
  autoregressive,  // one token after the other: a pyramid of slope S
  pyramid,         // token t starts floor(slope t) rows after token 0
  trapezoid,       // both ends first, the middle last: token t starts floor(slope min(t, T - 1 - t)) rows after the ends
};
template <>
struct EnumNames<MatrixKind> {
  static constexpr std::pair<std::string_view, MatrixKind> table[] = {{"full_sequence", MatrixKind::full_sequence},
                                                                      {"autoregressive", MatrixKind::autoregressive},
                                                                      {"pyramid", MatrixKind::pyramid},
                                                                      {"trapezoid", MatrixKind::trapezoid}};
};

// The kind of that name; nothing for any other string, which then names a file.
std::optional<MatrixKind> parse_schedule(std::string_view schedule);

// A table of noise levels: a row a moment, a column a token.
struct SchedulingMatrix {
  int64_t rows = 0;            // M + 1
  int64_t tokens = 0;          // T
  std::vector<int32_t> level;  // [rows, tokens], row-major
  int32_t at(int64_t m, int64_t t) const { return level[static_cast<size_t>(m * tokens + t)]; }
};

// The S + 1 levels that a token visits, rising: 0 = ladder[0] < ... < ladder[S] = K, evenly spaced and truncated as the authors do
// (their times int(linspace(-1, K - 1, S + 1)) plus one). Throws df::Error unless 1 <= steps <= levels.
std::vector<int32_t> ladder(int64_t levels, int64_t steps);

// Level of a token that has taken `done` of S steps; it is at K before the first and at 0 after the last.
int32_t level_after(const std::vector<int32_t>& ladder, int64_t done);

// All levels that occur in a matrix, rising.
std::vector<int32_t> ladder_of(const SchedulingMatrix& matrix);

// Rows after token 0 (or the nearer end) at which token t of T starts to move.
int64_t start_row(MatrixKind kind, int64_t t, int64_t tokens, int64_t steps, double slope);

// slope: rows per token, >= 0; used by pyramid and trapezoid only. Throws df::Error for tokens < 1, slope < 0 or not finite.
SchedulingMatrix make_matrix(MatrixKind kind, int64_t tokens, const std::vector<int32_t>& ladder, double slope);

// CSV (integers, commas or blanks, '#' comments) or .npy (2-D integer). Not yet validated against K.
SchedulingMatrix read_matrix(const std::filesystem::path& path);

// First row all K, last row all 0, no entry outside 0..K, no column rising. Throws df::Error "<name>: row 3, column 2: expected a level
// of at most 500 (row 2), got 700". Rows and columns count from 0.
void validate(const SchedulingMatrix& matrix, int64_t levels, const std::string& name);

// One row's work: token first + i goes from level from[i] to level to[i]. Tokens outside the window are at K (right) or finished (left).
struct ScheduleRow {
  int64_t first = 0;
  std::vector<int32_t> from, to;
};
// Yields rows until nothing.
using RowSource = std::function<std::optional<ScheduleRow>()>;

// The rows of `matrix` for tokens 0..T-1, then again for T..2T-1, ... until `tokens` are covered (the last chunk is cut on the right).
RowSource matrix_rows(SchedulingMatrix matrix, int64_t tokens);

// The rows of a pyramid over any number of tokens, each row only as wide as its active tokens: constant memory.
RowSource pyramid_rows(int64_t tokens, std::vector<int32_t> ladder, double slope);

}  // namespace df
