// SPDX-License-Identifier: MIT
#include "diffusion_forcing/evaluation/report.hpp"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/media/media.hpp"
#include "support/support.hpp"
#include "support/xml.hpp"

namespace df::test {

namespace {

constexpr double unknown = std::numeric_limits<double>::quiet_NaN();

std::vector<RunReport> two_runs() {
  RunReport a{"first, \"best\"",
              4,
              100,
              {{"schedule", "pyramid"}},
              {{"mse", {0.25, 0.2, 0.3}}},
              {{"mse", {{1, 50, {0.2, 0.1, 0.3}}, {51, 100, {0.4, 0.3, 0.5}}}}}};
  RunReport b{"second",
              1,
              100,
              {},
              {{"ssim", {0.5, unknown, unknown}}},
              {{"mse", {{1, 50, {0.3, unknown, unknown}}}}, {"ssim", {{1, 50, {0.9, unknown, unknown}}}}}};
  return {a, b};
}

constexpr int ink = 40;

// Pixels of about this colour.
int64_t count(const Tensor& image, int r, int g, int b) {
  const auto colour = at::tensor({r, g, b}, at::kInt).view({3, 1, 1});
  return ((image.to(at::kInt) - colour).abs().amax(0) <= 3).sum().item<int64_t>();
}

}  // namespace

TEST(Report, TableHasAColumnARun) {
  EXPECT_EQ(report_table(two_runs()),
            "           first, \"best\"    second\n"
            "sequences  4                1\n"
            "frames     100              100\n"
            "mse        0.25 [0.2, 0.3]  -\n"
            "ssim       -                0.5\n");
}

TEST(Report, CsvHasALineAPoint) {
  EXPECT_EQ(report_csv(two_runs()),
            "run,curve,first,last,value,low,high,sequences\n"
            "\"first, \"\"best\"\"\",mse,1,50,0.2,0.1,0.3,4\n"
            "\"first, \"\"best\"\"\",mse,51,100,0.4,0.3,0.5,4\n"
            "second,mse,1,50,0.3,,,1\n"
            "second,ssim,1,50,0.9,,,1\n");
}

TEST(Report, JsonHoldsEverything) {
  const auto json = nlohmann::json::parse(report_json(two_runs()));
  const auto& runs = json.at("runs");
  ASSERT_EQ(runs.size(), 2U);
  EXPECT_EQ(runs[0].at("facts").at("schedule"), "pyramid");
  EXPECT_EQ(runs[0].at("curves").at("mse")[1].at("first"), 51);
  EXPECT_DOUBLE_EQ(runs[0].at("curves").at("mse")[1].at("high").get<double>(), 0.5);
  EXPECT_DOUBLE_EQ(runs[0].at("numbers").at("mse").at("low").get<double>(), 0.2);
  EXPECT_TRUE(runs[1].at("numbers").at("ssim").at("low").is_null());
}

TEST(Report, PlotHasAPanelACurveAndALineARun) {
  const auto runs = two_runs();
  const auto both = report_plot(runs), first = report_plot({runs[0]});
  EXPECT_EQ(both.size(0), 3);
  EXPECT_GT(both.size(2), first.size(2)) << "two panels against one";
  EXPECT_GT(count(first, 0, 114, 178), 100) << "the first colour, RGB";
  EXPECT_EQ(count(first, 213, 94, 0), 0);
  EXPECT_GT(count(both, 213, 94, 0), 5) << "the second run has its own";
  EXPECT_NO_THROW(report_plot({}));
  EXPECT_NO_THROW(report_plot({{"flat", 1, 2, {}, {}, {{"mse", {{1, 1, {0.0, unknown, unknown}}}}}}}));
}

TEST(Report, FilesAreWritten) {
  const TemporaryFolder folder;
  write_report(folder.path() / "new", two_runs());
  EXPECT_EQ(read_file(folder.path() / "new" / "curves.csv"), report_csv(two_runs()));
  EXPECT_EQ(read_file(folder.path() / "new" / "table.txt"), report_table(two_runs()));
  EXPECT_EQ(nlohmann::json::parse(read_file(folder.path() / "new" / "report.json")).at("runs").size(), 2U);
  EXPECT_TRUE(identical(read_image(folder.path() / "new" / "curves.png"), report_plot(two_runs())));
}

TEST(Report, SheetHasTheFramesInTheirPlaces) {
  const auto row = [](int first, int second) {
    return at::stack({at::full({3, 8, 8}, first, at::kByte), at::full({3, 8, 8}, second, at::kByte)});
  };
  const auto image = contact_sheet({{"truth", row(10, 80)}, {"model", row(150, 220)}}, {1, 100}, 2);
  for (const int grey : {10, 80, 150, 220}) EXPECT_GE(count(image, grey, grey, grey), 16 * 16) << grey;
  // The last frame of the last row stands in the lower right corner, 4 pixels from the edges.
  EXPECT_EQ(image.select(1, image.size(1) - 5).select(1, image.size(2) - 5)[0].item<int>(), 220);
  EXPECT_GT(count(image.narrow(2, 0, 40), ink, ink, ink), 0) << "names";
  EXPECT_NE(error_of([&] { contact_sheet({{"a", row(1, 2)}}, {1, 2, 3}, 1); }).find("contact sheet: a"), std::string::npos);
}

TEST(Report, PageHoldsTheTableAndEscapesNames) {
  auto runs = two_runs();
  runs[0].name = "<b>";
  const auto page = report_page(runs, "A & B", "df-eval --out x");
  EXPECT_NE(page.find("<title>A &amp; B</title>"), std::string::npos);
  EXPECT_NE(page.find("df-eval --out x"), std::string::npos);
  EXPECT_NE(page.find("0.25 [0.2, 0.3]"), std::string::npos);
  EXPECT_EQ(page.find("<b>"), std::string::npos);
  EXPECT_NE(page.find("schedule: pyramid"), std::string::npos);
}

TEST(Report, PageNeedsOnlyTheFilesBesideIt) {
  const TemporaryFolder folder;
  auto runs = two_runs();
  runs[0].curves.push_back({"own & curve", {{1, 1, {0.2, 0.1, 0.3}}}});
  write_report(folder.path(), runs, false);
  check_page(report_page(runs, "A", "df-eval", {.frames = false, .curves = false, .plans = {}}), folder.path());
  for (const char* file : {"sheet.png", "side_by_side.mp4", "curves.png"}) write_atomically(folder.path() / file, "x");
  const auto page = report_page(runs, "A", "df-eval");
  check_page(page, folder.path());
  EXPECT_NE(page.find("<video src=\"side_by_side.mp4\""), std::string::npos);
}

TEST(Report, PageSaysInWordsWhatIsBetter) {
  std::vector<RunReport> runs(3);
  const double mse[] = {0.0, 0.3, 0.2}, ssim[] = {1.0, 0.7, 0.6}, sharpness[] = {1.0, 1.4, 0.9};
  const char* names[] = {"real", "a", "b"};
  for (size_t r = 0; r < 3; ++r)
    runs[r] = {names[r],
               2,
               50,
               {},
               {{"mse 1-50", {mse[r], unknown, unknown}},
                {"ssim 1-50", {ssim[r], unknown, unknown}},
                {"sharpness 1-50", {sharpness[r], unknown, unknown}}},
               {{"mse", {{1, 50, {mse[r], 0.0, 1.0}}}}}};
  const auto page = report_page(runs, "A", "df-eval");
  std::vector<std::string> best;
  const auto elements = parse_xml(page);
  for (const auto& element : elements)
    if (element.attributes.count("class") > 0 && element.attributes.at("class") == "best") best.push_back(element.attributes.at("title"));
  EXPECT_EQ(best, (std::vector<std::string>{"b: 0.2", "a: 0.7", "b: 0.9"})) << "of the models; real is not one";
  for (const char* words : {">Error of the pixels</text>", "lower is better, mean square, values in 0..1", "frame after the context",
                            "frames 1 to 50", "near 1 is better"})
    EXPECT_NE(page.find(words), std::string::npos) << words;
}

}  // namespace df::test
