// SPDX-License-Identifier: MIT
#include "diffusion_forcing/drawing/table.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "diffusion_forcing/core/error.hpp"
#include "drawing/markup.hpp"

namespace df::drawing {

namespace {

// Smaller is better.
double badness(double value, Better better) {
  if (better == Better::higher) return -value;
  return better == Better::one ? std::abs(value - 1.0) : value;
}

std::string linked(const std::string& text, const std::string& link, const char* attributes = "") {
  return link.empty() ? escaped(text) : fmt::format("<a{} href=\"{}\">{}</a>", attributes, escaped(link), escaped(text));
}

std::string head_of(const TableRow& row) {
  std::string details = row.detail;
  const auto add = [&](const std::string& words) {
    if (!words.empty()) details += (details.empty() ? "" : "; ") + words;
  };
  add(row.unit);
  const char* arrow = row.better == Better::lower ? "\u2193 " : row.better == Better::higher ? "\u2191 " : "";
  if (row.better != Better::none) details += details.empty() ? "" : "; ";
  return fmt::format("<th scope=\"row\">{}<small>{}{}{}</small></th>", linked(row.title, row.link), escaped(details), arrow,
                     better_words(row.better));
}

}  // namespace

Entry entry_of(double value, double low, double high) {
  Entry entry;
  if (!std::isfinite(value)) return entry;
  entry.value = value;
  entry.text = fmt::format("{:.4g}", value);
  if (std::isfinite(low) && std::isfinite(high)) entry.beside = fmt::format("[{:.4g}, {:.4g}]", low, high);
  return entry;
}

std::vector<bool> best_entries(const TableRow& row, const std::vector<TableColumn>& columns) {
  std::vector<bool> best(row.entries.size(), false);
  if (row.better == Better::none) return best;
  const auto compared = [&](size_t i) { return std::isfinite(row.entries[i].value) && !(i < columns.size() && columns[i].reference); };
  const Entry* first = nullptr;
  size_t count = 0;
  for (size_t i = 0; i < row.entries.size(); ++i) {
    if (!compared(i)) continue;
    ++count;
    const Entry& entry = row.entries[i];
    if (!first || badness(entry.value, row.better) < badness(first->value, row.better)) first = &entry;
  }
  size_t marked = 0;
  for (size_t i = 0; i < row.entries.size(); ++i)
    if (compared(i)) marked += static_cast<size_t>(best[i] = row.entries[i].text == first->text);
  if (count < 2 || marked == count) best.assign(best.size(), false);
  return best;
}

std::string html_table(const Table& table) {
  std::string html = "<div class=\"wide\"><table>\n";
  if (!table.caption.empty()) html += fmt::format("<caption>{}</caption>\n", escaped(table.caption));
  html += "<thead><tr><td></td>";
  for (const auto& column : table.columns)
    html += fmt::format("<th scope=\"col\"{}>{}</th>", column.reference ? " class=\"reference\"" : "", escaped(column.title));
  html += "</tr></thead>\n<tbody>\n";
  for (const auto& row : table.rows) {
    if (row.entries.size() != table.columns.size())
      throw Error(
          fmt::format("table: row '{}': expected {} entries, one a column, got {}", row.title, table.columns.size(), row.entries.size()));
    const auto best = best_entries(row, table.columns);
    html += "<tr>" + head_of(row);
    for (size_t i = 0; i < row.entries.size(); ++i) {
      const Entry& entry = row.entries[i];
      const std::string kind = best[i] ? "best" : table.columns[i].reference ? "reference" : "";
      const std::string beside = entry.beside.empty() ? "" : " " + entry.beside;
      html += fmt::format("<td{} title=\"{}: {}{}\">{}{}</td>", kind.empty() ? "" : fmt::format(" class=\"{}\"", kind),
                          escaped(table.columns[i].title), escaped(entry.text), escaped(beside),
                          linked(entry.text, row.link, " tabindex=\"-1\""),
                          beside.empty() ? "" : fmt::format(" <small>{}</small>", escaped(entry.beside)));
    }
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

}  // namespace df::drawing
