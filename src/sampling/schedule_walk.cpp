// SPDX-License-Identifier: MIT
#include "sampling/schedule_walk.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace df {

ScheduleWalk ScheduleWalk::pyramid(std::vector<int32_t> ladder, double slope) {
  ScheduleWalk walk;
  walk.ladder_ = std::move(ladder);
  walk.rows_a_token_ = std::min(slope, static_cast<double>(walk.steps()));  // steeper ones only add rows in which nothing moves
  return walk;
}

ScheduleWalk ScheduleWalk::chunks(SchedulingMatrix matrix) {
  ScheduleWalk walk;
  walk.matrix_ = std::move(matrix);
  return walk;
}

std::optional<ScheduleRow> ScheduleWalk::next(int64_t known, bool more) {
  return matrix_.tokens > 0 ? next_of_chunk(known, more) : next_of_pyramid(known, more);
}

int64_t ScheduleWalk::start(int64_t t) const { return start_row(MatrixKind::pyramid, t, 0, steps(), rows_a_token_); }

std::optional<ScheduleRow> ScheduleWalk::next_of_pyramid(int64_t known, bool more) {
  if (first_ >= known || (more && start(known) <= row_)) return std::nullopt;
  ScheduleRow row;
  row.first = first_;
  for (int64_t t = first_; t < known && start(t) <= row_; ++t) {
    row.from.push_back(level_after(ladder_, row_ - start(t)));
    row.to.push_back(level_after(ladder_, row_ + 1 - start(t)));
  }
  ++row_;
  while (first_ < known && start(first_) + steps() <= row_) ++first_;
  return row;
}

std::optional<ScheduleRow> ScheduleWalk::next_of_chunk(int64_t known, bool more) {
  if (first_ >= known || (more && first_ + matrix_.tokens > known)) return std::nullopt;
  ScheduleRow row;
  row.first = first_;
  for (int64_t t = 0; t < std::min(matrix_.tokens, known - first_); ++t) {
    row.from.push_back(matrix_.at(row_, t));
    row.to.push_back(matrix_.at(row_ + 1, t));
  }
  if (++row_ == matrix_.rows - 1) {
    row_ = 0;
    first_ += matrix_.tokens;
  }
  return row;
}

int64_t ScheduleWalk::known_for(int64_t t) const {
  if (matrix_.tokens > 0) return (t / matrix_.tokens + 1) * matrix_.tokens;
  const int64_t last = start(t) + steps() - 1;  // row of its last move
  int64_t known = t + 1;
  while (start(known) <= last) ++known;
  return known;
}

RowSource matrix_rows(SchedulingMatrix matrix, int64_t tokens) {
  return [walk = ScheduleWalk::chunks(std::move(matrix)), tokens]() mutable { return walk.next(tokens, false); };
}

RowSource pyramid_rows(int64_t tokens, std::vector<int32_t> ladder, double slope) {
  return [walk = ScheduleWalk::pyramid(std::move(ladder), slope), tokens]() mutable { return walk.next(tokens, false); };
}

}  // namespace df
