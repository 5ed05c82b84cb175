// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include "diffusion_forcing/core/version.hpp"
#include "diffusion_forcing/evaluation/report.hpp"

namespace df {

namespace {

std::string escaped(const std::string& text) {
  std::string html;
  for (const char c : text) html += c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '&' ? "&amp;" : c == '"' ? "&quot;" : std::string(1, c);
  return html;
}

constexpr const char* style =
    "body{font:15px/1.5 sans-serif;max-width:1300px;margin:2em auto;padding:0 1em;color:#282828}img,video{max-width:100%}"
    "pre{overflow-x:auto;background:#f4f4f4;padding:1em;font-size:12px}dt{font-weight:bold}";

}  // namespace

std::string report_page(const std::vector<RunReport>& runs, const std::string& title, const std::string& command) {
  std::string page = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{0}</title><style>{1}</style></head><body>\n<h1>{0}</h1>\n",
      escaped(title), style);
  page += fmt::format("<pre>{}</pre>\n", escaped(command));
  page +=
      "<h2>Frames</h2>\n<p>One held-out sequence; the numbers count frames after the context. The whole of it: "
      "<a href=\"side_by_side.mp4\">side_by_side.mp4</a>.</p>\n<img src=\"sheet.png\" alt=\"contact sheet\">\n";
  page +=
      "<h2>Curves</h2>\n<p>Means over windows, with 95 % bootstrap intervals over sequences (<a href=\"curves.csv\">curves.csv</a>, "
      "<a href=\"report.json\">report.json</a>). <i>real</i> is true video in the place of a model.</p>\n"
      "<img src=\"curves.png\" alt=\"curves\">\n";
  page += fmt::format("<h2>Numbers</h2>\n<pre>{}</pre>\n<h2>Runs</h2>\n<dl>\n", escaped(report_table(runs)));
  for (const RunReport& run : runs) {
    std::string facts;
    for (const auto& [name, value] : run.facts) facts += fmt::format("{}: {}<br>", escaped(name), escaped(value));
    page += fmt::format("<dt>{}</dt><dd>{}</dd>\n", escaped(run.name), facts);
  }
  return page +
         fmt::format("</dl>\n<p>{}</p>\n</body></html>\n", escaped(fmt::format("diffusion_forcing {}, commit {}", version(), commit())));
}

}  // namespace df
