// SPDX-License-Identifier: MIT
// Results as text: tables for people, fields for CSV files.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

namespace df {

// Columns of equally many cells side by side, each as wide as its widest cell.
inline std::string text_table(const std::vector<std::vector<std::string>>& columns) {
  std::string table;
  for (size_t line = 0; line < columns.at(0).size(); ++line) {
    for (size_t i = 0; i < columns.size(); ++i) {
      size_t width = 0;
      for (const auto& text : columns[i]) width = std::max(width, text.size());
      table += i + 1 < columns.size() ? fmt::format("{:<{}}  ", columns[i].at(line), width) : columns[i].at(line);
    }
    table += "\n";
  }
  return table;
}

// Quoted where a comma or a quote asks for it.
inline std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + "\"";
}

}  // namespace df
