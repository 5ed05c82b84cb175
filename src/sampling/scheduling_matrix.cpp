// SPDX-License-Identifier: MIT
#include "diffusion_forcing/sampling/scheduling_matrix.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>

#include <ATen/ATen.h>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/core/npy.hpp"

namespace df {

namespace {

int64_t floor_of(double rows) { return static_cast<int64_t>(std::floor(rows + 1e-9)); }

SchedulingMatrix read_csv(const std::filesystem::path& path) {
  SchedulingMatrix matrix;
  std::istringstream lines(read_file(path));
  std::string line;
  for (int64_t number = 1; std::getline(lines, line); ++number) {
    line.resize(std::min(line.size(), line.find('#')));
    for (char& c : line)
      if (c == ',' || c == ';' || c == '\t' || c == '\r') c = ' ';
    std::istringstream words(line);
    std::string word;
    int64_t columns = 0;
    for (; words >> word; ++columns) {
      int32_t value = 0;
      const auto [end, failure] = std::from_chars(word.data(), word.data() + word.size(), value);
      if (failure != std::errc() || end != word.data() + word.size())
        throw Error(fmt::format("{}:{}: column {}: expected an integer noise level, got '{}'", path.string(), number, columns, word));
      matrix.level.push_back(value);
    }
    if (columns == 0) continue;
    if (matrix.rows == 0) matrix.tokens = columns;
    if (columns != matrix.tokens)
      throw Error(fmt::format("{}:{}: expected {} columns as in the first row, got {}", path.string(), number, matrix.tokens, columns));
    ++matrix.rows;
  }
  return matrix;
}

SchedulingMatrix read_npy_matrix(const std::filesystem::path& path) {
  const Tensor array = read_npy(path);
  if (array.dim() != 2 || !at::isIntegralType(array.scalar_type(), false))
    throw Error(fmt::format("{}: expected a 2-D array of integers [rows, tokens], got {} of {} dimensions", path.string(),
                            at::toString(array.scalar_type()), array.dim()));
  const Tensor level = array.to(at::kInt).contiguous();
  SchedulingMatrix matrix{level.size(0), level.size(1), {}};
  matrix.level.assign(level.data_ptr<int32_t>(), level.data_ptr<int32_t>() + level.numel());
  return matrix;
}

}  // namespace

std::optional<MatrixKind> parse_schedule(std::string_view schedule) {
  for (const auto& [name, kind] : EnumNames<MatrixKind>::table)
    if (name == schedule) return kind;
  return std::nullopt;
}

int32_t level_after(const std::vector<int32_t>& ladder, int64_t done) {
  const auto steps = static_cast<int64_t>(ladder.size()) - 1;
  return ladder[static_cast<size_t>(steps - std::clamp<int64_t>(done, 0, steps))];
}

std::vector<int32_t> ladder_of(const SchedulingMatrix& matrix) {
  std::vector<int32_t> levels(matrix.level);
  std::sort(levels.begin(), levels.end());
  levels.erase(std::unique(levels.begin(), levels.end()), levels.end());
  return levels;
}

std::vector<int32_t> ladder(int64_t levels, int64_t steps) {
  if (steps < 1 || steps > levels) throw Error(fmt::format("sampling steps: expected 1 to {} (the noise levels), got {}", levels, steps));
  std::vector<int32_t> values(static_cast<size_t>(steps) + 1);
  for (int64_t i = 0; i <= steps; ++i) values[static_cast<size_t>(i)] = static_cast<int32_t>(i * levels / steps);
  return values;
}

int64_t start_row(MatrixKind kind, int64_t t, int64_t tokens, int64_t steps, double slope) {
  switch (kind) {
    case MatrixKind::full_sequence:
      return 0;
    case MatrixKind::autoregressive:
      return t * steps;
    case MatrixKind::pyramid:
      return floor_of(static_cast<double>(t) * slope);
    case MatrixKind::trapezoid:
      return floor_of(static_cast<double>(std::min(t, tokens - 1 - t)) * slope);
  }
  throw Error("unknown scheduling matrix");
}

SchedulingMatrix make_matrix(MatrixKind kind, int64_t tokens, const std::vector<int32_t>& ladder, double slope) {
  if (tokens < 1) throw Error(fmt::format("scheduling matrix: expected at least 1 token, got {}", tokens));
  if (!std::isfinite(slope) || slope < 0) throw Error(fmt::format("scheduling matrix: expected a slope of at least 0, got {}", slope));
  const auto steps = static_cast<int64_t>(ladder.size()) - 1;
  int64_t last_start = 0;
  for (int64_t t = 0; t < tokens; ++t) last_start = std::max(last_start, start_row(kind, t, tokens, steps, slope));
  SchedulingMatrix matrix{steps + last_start + 1, tokens, {}};
  matrix.level.reserve(static_cast<size_t>(matrix.rows * tokens));
  for (int64_t m = 0; m < matrix.rows; ++m)
    for (int64_t t = 0; t < tokens; ++t) matrix.level.push_back(level_after(ladder, m - start_row(kind, t, tokens, steps, slope)));
  return matrix;
}

SchedulingMatrix read_matrix(const std::filesystem::path& path) {
  const SchedulingMatrix matrix = path.extension() == ".npy" ? read_npy_matrix(path) : read_csv(path);
  if (matrix.rows == 0 || matrix.tokens == 0) throw Error(path.string() + ": expected a scheduling matrix, got no numbers");
  return matrix;
}

void validate(const SchedulingMatrix& matrix, int64_t levels, const std::string& name) {
  const auto fail = [&](int64_t m, int64_t t, const std::string& expected) {
    throw Error(fmt::format("{}: row {}, column {}: expected {}, got {}", name, m, t, expected, matrix.at(m, t)));
  };
  if (matrix.rows < 2)
    throw Error(fmt::format("{}: expected at least 2 rows (all at {}, then down to all at 0), got {}", name, levels, matrix.rows));
  for (int64_t m = 0; m < matrix.rows; ++m)
    for (int64_t t = 0; t < matrix.tokens; ++t) {
      const int64_t level = matrix.at(m, t);
      if (level < 0 || level > levels) fail(m, t, fmt::format("a level of 0 to {}", levels));
      if (m == 0 && level != levels) fail(m, t, fmt::format("{} (the first row is pure noise)", levels));
      if (m > 0 && level > matrix.at(m - 1, t)) fail(m, t, fmt::format("a level of at most {} (row {})", matrix.at(m - 1, t), m - 1));
      if (m == matrix.rows - 1 && level != 0) fail(m, t, "0 (the last row is clean)");
    }
}

}  // namespace df
