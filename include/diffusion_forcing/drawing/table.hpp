// SPDX-License-Identifier: MIT
// Numbers side by side in HTML, the best of each row marked.
#pragma once

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "diffusion_forcing/drawing/plot.hpp"

namespace df::drawing {

// One cell of a table: its text and its number.
struct Entry {
  std::string text = "-";                                   // what is shown
  std::string beside;                                       // its uncertainty, "[0.2, 0.3]" or "+- 0.1"; smaller, beside it
  double value = std::numeric_limits<double>::quiet_NaN();  // what is compared; NaN is never the best
};
// "0.412" with "[0.39, 0.44]" beside it; "-" for an unknown value, nothing beside it for unknown bounds.
Entry entry_of(double value, double low = std::numeric_limits<double>::quiet_NaN(), double high = std::numeric_limits<double>::quiet_NaN());

// One row of a table: an entry for each column, and which of them is better.
struct TableRow {
  std::string title, detail;  // "Structural similarity", "frames 1 to 50"
  std::string link;           // where the row is explained, "#ssim" or a file; empty: nowhere
  std::string unit;
  Better better = Better::none;
  std::vector<Entry> entries;  // one a column
};

// One column of a table.
struct TableColumn {
  std::string title;
  bool reference = false;  // shown, but not compared with the others
};

// A table whose best entries are marked.
struct Table {
  std::string caption;
  std::vector<TableColumn> columns;
  std::vector<TableRow> rows;
};

// Which entries of the row are best. Entries that read the same are equally good. None where fewer than two can be compared, where all are
// equally good, or where no value is better than another.
std::vector<bool> best_entries(const TableRow& row, const std::vector<TableColumn>& columns);

// A <table> element for a page. Throws df::Error where a row has not one entry a column.
std::string html_table(const Table& table);

}  // namespace df::drawing
