// SPDX-License-Identifier: MIT
#include "diffusion_forcing/sampling/scheduling_matrix.hpp"

#include <ATen/ATen.h>

#include <fstream>

#include "diffusion_forcing/core/npy.hpp"
#include "support/support.hpp"

namespace df {
namespace {

using test::error_of;

std::vector<int32_t> row_of(const SchedulingMatrix& matrix, int64_t m) {
  std::vector<int32_t> row;
  for (int64_t t = 0; t < matrix.tokens; ++t) row.push_back(matrix.at(m, t));
  return row;
}

TEST(Ladder, EqualsTheAuthorsTimes) {
  const auto golden = read_safetensors(test::golden_dir() / "schedules.safetensors").tensors;
  int64_t compared = 0;
  for (const auto& [name, times] : golden) {
    int K = 0, S = 0;
    if (std::sscanf(name.c_str(), "ddim_times/K%d_S%d", &K, &S) != 2) continue;
    const auto levels = ladder(K, S);
    ASSERT_EQ(static_cast<int64_t>(levels.size()), times.size(0)) << name;
    const bool falling = times[0].item<int64_t>() > times[-1].item<int64_t>();
    for (int64_t i = 0; i <= S; ++i, ++compared) EXPECT_EQ(levels[i], times[falling ? S - i : i].item<int64_t>() + 1) << name << " " << i;
  }
  EXPECT_GT(compared, 1000);
}

TEST(Ladder, RefusesMoreStepsThanLevels) {
  EXPECT_EQ(error_of([] { ladder(10, 11); }), "sampling steps: expected 1 to 10 (the noise levels), got 11");
}

TEST(Matrix, SmallOnesAreAsDrawnInThePaper) {
  const auto levels = ladder(2, 2);  // 0 1 2
  EXPECT_EQ(make_matrix(MatrixKind::full_sequence, 3, levels, 1).level, (std::vector<int32_t>{2, 2, 2, 1, 1, 1, 0, 0, 0}));
  EXPECT_EQ(make_matrix(MatrixKind::autoregressive, 2, levels, 9).level, (std::vector<int32_t>{2, 2, 1, 2, 0, 2, 0, 1, 0, 0}));
  EXPECT_EQ(make_matrix(MatrixKind::pyramid, 3, levels, 1).level, (std::vector<int32_t>{2, 2, 2, 1, 2, 2, 0, 1, 2, 0, 0, 1, 0, 0, 0}));
  EXPECT_EQ(make_matrix(MatrixKind::trapezoid, 3, levels, 1).level, (std::vector<int32_t>{2, 2, 2, 1, 2, 1, 0, 1, 0, 0, 0, 0}));
}

TEST(Matrix, EveryKindIsValidForEvenOddAndShallowSlopes) {
  for (const auto& [name, kind] : EnumNames<MatrixKind>::table)
    for (const int64_t tokens : {1, 2, 3, 4, 7, 8})
      for (const double slope : {0.0, 0.3, 0.5, 1.0, 1.7, 4.0}) {
        const auto matrix = make_matrix(kind, tokens, ladder(50, 7), slope);
        EXPECT_NO_THROW(validate(matrix, 50, std::string(name))) << name << " " << tokens << " " << slope;
        for (int64_t m = 1; m < matrix.rows; ++m) {
          EXPECT_NE(row_of(matrix, m), row_of(matrix, m - 1)) << name << ": row " << m << " changes nothing";
          for (int64_t t = 0; t < tokens && kind == MatrixKind::trapezoid; ++t) EXPECT_EQ(matrix.at(m, t), matrix.at(m, tokens - 1 - t));
        }
      }
}

TEST(Matrix, PyramidRowsAreTheRowsOfTheMatrix) {
  for (const double slope : {0.25, 0.5, 1.0, 1.5, 3.0, 6.0}) {
    const auto levels = ladder(60, 6);
    const auto matrix = make_matrix(MatrixKind::pyramid, 9, levels, slope);
    std::vector<int32_t> now(9, 60);
    RowSource rows = pyramid_rows(9, levels, slope);
    int64_t m = 0;
    for (; auto row = rows(); ++m) {
      for (size_t i = 0; i < row->from.size(); ++i) {
        EXPECT_EQ(now[row->first + i], row->from[i]);
        now[row->first + i] = row->to[i];
      }
      ASSERT_LT(m + 1, matrix.rows);
      EXPECT_EQ(now, row_of(matrix, m + 1)) << "slope " << slope << " row " << m;
    }
    EXPECT_EQ(m + 1, matrix.rows);
  }
}

TEST(Matrix, FilesAreReadAndFaultsNamed) {
  const test::TemporaryFolder folder;
  const auto csv = folder.path() / "m.csv";
  std::ofstream(csv) << "# two tokens\n10, 10\n5 10\n0, 5\n0,0\n";
  const auto matrix = read_matrix(csv);
  EXPECT_NO_THROW(validate(matrix, 10, "m.csv"));
  EXPECT_EQ(matrix.level, (std::vector<int32_t>{10, 10, 5, 10, 0, 5, 0, 0}));
  const auto npy = folder.path() / "m.npy";
  write_npy(npy, at::tensor(std::vector<int64_t>{10, 10, 5, 10, 0, 5, 0, 0}, at::kLong).view({4, 2}));
  EXPECT_EQ(read_matrix(npy).level, matrix.level);

  SchedulingMatrix bad = matrix;
  bad.level[5] = 12;
  EXPECT_EQ(error_of([&] { validate(bad, 10, "m.csv"); }), "m.csv: row 2, column 1: expected a level of 0 to 10, got 12");
  bad = matrix;
  bad.level[4] = 7;
  EXPECT_EQ(error_of([&] { validate(bad, 10, "m.csv"); }), "m.csv: row 2, column 0: expected a level of at most 5 (row 1), got 7");
  bad = matrix;
  bad.level[1] = 9;
  EXPECT_EQ(error_of([&] { validate(bad, 10, "m.csv"); }), "m.csv: row 0, column 1: expected 10 (the first row is pure noise), got 9");
  bad = matrix;
  bad.level[7] = 1;
  EXPECT_EQ(error_of([&] { validate(bad, 10, "m.csv"); }), "m.csv: row 3, column 1: expected 0 (the last row is clean), got 1");
  std::ofstream(csv) << "10,10\n5,x\n";
  EXPECT_EQ(error_of([&] { read_matrix(csv); }), csv.string() + ":2: column 1: expected an integer noise level, got 'x'");
  std::ofstream(csv) << "10,10\n5\n";
  EXPECT_EQ(error_of([&] { read_matrix(csv); }), csv.string() + ":2: expected 2 columns as in the first row, got 1");
}

}  // namespace
}  // namespace df
