// SPDX-License-Identifier: MIT
// The rows of a schedule over a sequence whose tokens become known one after the other.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "diffusion_forcing/sampling/scheduling_matrix.hpp"

namespace df {

// A copy goes on from the same place.
class ScheduleWalk {
 public:
  // Each row only as wide as its active tokens. slope > 0, unless all tokens are known.
  static ScheduleWalk pyramid(std::vector<int32_t> ladder, double slope);
  // The matrix for tokens 0..T-1, then again for T..2T-1, ...
  static ScheduleWalk chunks(SchedulingMatrix matrix);

  // The next row, or nothing: after the last one, and where it has tokens that are not known yet. Tokens 0..known-1 are known; `more`:
  // others will follow.
  std::optional<ScheduleRow> next(int64_t known, bool more);

  int64_t first() const { return first_; }  // token that the next row starts at, or a later one
  bool begun() const { return first_ > 0 || row_ > 0; }
  // How many tokens must be known before the row can run that finishes token t >= first().
  int64_t known_for(int64_t t) const;

 private:
  int64_t steps() const { return static_cast<int64_t>(ladder_.size()) - 1; }
  int64_t start(int64_t t) const;  // row at which a pyramid's token starts
  std::optional<ScheduleRow> next_of_pyramid(int64_t known, bool more);
  std::optional<ScheduleRow> next_of_chunk(int64_t known, bool more);

  SchedulingMatrix matrix_;      // of a chunk; none: a pyramid
  std::vector<int32_t> ladder_;  // of a pyramid
  double rows_a_token_ = 0.0;
  int64_t first_ = 0, row_ = 0;  // row: of the chunk, or of the whole pyramid
};

}  // namespace df
