// SPDX-License-Identifier: MIT
// One HTML page: sections of words, plots, tables, pictures and videos. It asks nothing of the network, is light or dark as the reader's
// browser wants, and can be read on a telephone. All texts are plain: the page escapes them.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "diffusion_forcing/drawing/plot.hpp"
#include "diffusion_forcing/drawing/table.hpp"

namespace df::drawing {

// A file beside the page.
struct Media {
  std::string file;     // relative to the page; .mp4 and .webm are shown as videos, others as pictures
  std::string caption;  // below it
  std::string words;    // for those who cannot see it; empty: the caption
};

// A word of the page and what it means.
struct Explanation {
  std::string id;  // what "#id" leads to
  std::string title, text;
};

// Collects the parts of a page, in the order in which they are shown.
class Page {
 public:
  explicit Page(std::string title, const std::string& lead = "");

  void section(const std::string& title);
  void text(const std::string& paragraph);
  void plots(const std::vector<Plot>& plots);  // side by side where there is room
  void scene(const Scene& scene);              // as wide as the page, at most its own size
  void table(const Table& table);
  void media(const Media& media);
  void files(const std::string& words, const std::vector<std::string>& names);  // links to files beside the page
  void explanations(const std::vector<Explanation>& all);
  void facts(const std::string& heading, const std::vector<std::pair<std::string, std::string>>& all);  // "schedule: pyramid"
  void code(const std::string& text);                                                                   // a command line, as it was typed

  // The whole document, with the program's version at the end.
  std::string html() const;

 private:
  std::string title_, body_;
};

}  // namespace df::drawing
