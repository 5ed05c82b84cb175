// SPDX-License-Identifier: MIT
#include "diffusion_forcing/drawing/page.hpp"

#include <algorithm>
#include <limits>

#include "diffusion_forcing/core/file.hpp"
#include "support/support.hpp"
#include "support/xml.hpp"

namespace df::drawing {

namespace {

using Marks = std::vector<bool>;

TableRow row_of(Better better, const std::vector<double>& values) {
  TableRow row{"loss", "", "", "", better, {}};
  for (const double value : values) row.entries.push_back(entry_of(value));
  return row;
}
const std::vector<TableColumn> three = {{"real", true}, {"a", false}, {"b", false}};
constexpr double unknown = std::numeric_limits<double>::quiet_NaN();

}  // namespace

TEST(Table, MarksTheBestInTheRightDirection) {
  EXPECT_EQ(best_entries(row_of(Better::lower, {0.0, 1.0, 2.0}), three), (Marks{false, true, false})) << "real is not compared";
  EXPECT_EQ(best_entries(row_of(Better::higher, {9.0, 1.0, 2.0}), three), (Marks{false, false, true}));
  EXPECT_EQ(best_entries(row_of(Better::one, {1.0, 0.7, 1.2}), three), (Marks{false, false, true}));
  EXPECT_EQ(best_entries(row_of(Better::none, {0.0, 1.0, 2.0}), three), (Marks{false, false, false}));
  EXPECT_EQ(best_entries(row_of(Better::lower, {0.0, unknown, 2.0}), three), (Marks{false, false, false})) << "nothing to compare with";
  EXPECT_EQ(best_entries(row_of(Better::lower, {0.0, 2.0, 2.0}), three), (Marks{false, false, false})) << "all are equal";
  const std::vector<TableColumn> four = {{"a"}, {"b"}, {"c"}, {"d"}};
  EXPECT_EQ(best_entries(row_of(Better::lower, {1.00001, 1.0, 2.0, unknown}), four), (Marks{true, true, false, false}))
      << "those that read the same are equally good";
  EXPECT_EQ(best_entries(row_of(Better::higher, {std::numeric_limits<double>::infinity(), 1.0, 2.0, unknown}), four),
            (Marks{false, false, true, false}));
}

TEST(Table, ShowsIntervalsAndRefusesRowsThatDoNotFit) {
  const Entry known = entry_of(0.41234, 0.39, 0.44), bare = entry_of(3.0);
  EXPECT_EQ(known.text, "0.4123");
  EXPECT_EQ(known.beside, "[0.39, 0.44]");
  EXPECT_EQ(bare.beside, "");
  EXPECT_EQ(entry_of(unknown, 1, 2).text, "-");
  EXPECT_EQ(entry_of(unknown, 1, 2).beside, "");
  TableRow row = row_of(Better::lower, {1.0, 2.0, 3.0});
  row.link = "#loss";
  row.unit = "nats";
  const auto elements = test::parse_xml(html_table({"a < b", three, {row}}));
  const auto best = std::count_if(elements.begin(), elements.end(),
                                  [](const auto& e) { return e.attributes.count("class") > 0 && e.attributes.at("class") == "best"; });
  EXPECT_EQ(best, 1);
  const auto links = std::count_if(elements.begin(), elements.end(), [](const auto& e) { return e.name == "a"; });
  EXPECT_EQ(links, 4) << "the row and each number lead to the explanation";
  row.entries.pop_back();
  EXPECT_NE(test::error_of([&] {
              html_table({"", three, {row}});
            }).find("row 'loss': expected 3 entries, one a column, got 2"),
            std::string::npos);
}

TEST(Page, IsWholeAndNeedsNothingFromOutside) {
  const test::TemporaryFolder folder;
  for (const char* file : {"a & b.mp4", "sheet.png", "numbers.csv"}) write_atomically(folder.path() / file, "x");
  Page page("A & <b>", "What it is.");
  page.section("Pictures");
  page.media({"a & b.mp4", "the \"video\"", ""});
  page.media({"sheet.png", "the sheet", "frames"});
  Plot plot;
  plot.title = "Loss <i>";
  plot.link = "#loss";
  plot.series.push_back({"a", {1, 2}, {1, 2}, {0, 1}, {2, 3}, {}, false});
  page.plots({plot, plot});
  page.scene(draw(plot));
  TableRow row = row_of(Better::lower, {1.0, 2.0, 3.0});
  row.link = "#loss";
  page.table({"", three, {row}});
  page.files("Files:", {"numbers.csv"});
  page.explanations({{"loss", "Loss", "It is < 1 & > 0."}});
  page.facts("run", {{"schedule", "pyramid"}});
  page.code("df-eval --title '<b>'");
  const auto html = page.html();
  test::check_page(html, folder.path());
  EXPECT_NE(html.find("<title>A &amp; &lt;b&gt;</title>"), std::string::npos);
  EXPECT_EQ(html.find("<b>"), std::string::npos);
  EXPECT_EQ(html.find("<i>"), std::string::npos);
  const auto elements = test::parse_xml(html);
  for (const auto& element : elements) {
    if (element.name == "video") {
      EXPECT_EQ(element.attributes.at("src"), "a & b.mp4");
    }
    if (element.name == "img") {
      EXPECT_EQ(element.attributes.at("alt"), "frames");
    }
  }
  EXPECT_NE(html.find("prefers-color-scheme:dark"), std::string::npos);
}

}  // namespace df::drawing
