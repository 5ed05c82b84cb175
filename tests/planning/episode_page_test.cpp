// SPDX-License-Identifier: MIT
#include "diffusion_forcing/planning/episode_page.hpp"

#include <limits>

#include "diffusion_forcing/core/file.hpp"
#include "support/support.hpp"
#include "support/xml.hpp"

namespace df {

namespace {

// Two policies in four worlds: how far they came, and when they arrived, if they did.
std::vector<EpisodeReport> two_reports() {
  constexpr double never = std::numeric_limits<double>::quiet_NaN();
  EnvironmentSpec environment;
  environment.task = "point & goal";
  environment.settings = {{"goals", "single"}};
  environment.steps = 40;
  OutcomeSpec way, arrival;
  way.key = way.title = "way";
  way.better = drawing::Better::lower;
  arrival.key = "arrival";
  arrival.title = "arrival, steps";
  arrival.whole = true;
  arrival.share_key = arrival.share_title = "arrived";
  arrival.better = drawing::Better::lower;
  environment.outcomes = {way, arrival};
  std::vector<EpisodeReport> reports(2);
  const double ways[2][4] = {{1, 2, 3, 4}, {2, 3, 4, 5}}, arrivals[2][4] = {{10, 30, never, never}, {5, 15, 20, never}};
  for (size_t r = 0; r < 2; ++r) {
    reports[r].policy = r == 0 ? "<slow>" : "quick";
    reports[r].description = "made up";
    reports[r].environment = environment;
    reports[r].steps = 40;
    for (size_t i = 0; i < 4; ++i) reports[r].episodes.push_back({i, {}, {}, {}, {ways[r][i], arrivals[r][i]}});
  }
  return reports;
}

}  // namespace

TEST(EpisodePage, MarksTheBestPolicyAndExplainsEachNumber) {
  const test::TemporaryFolder folder;
  for (const char* file : {"table.txt", "episodes.csv", "report.json", "sheet.png", "loop.mp4"})
    write_atomically(folder.path() / file, "x");
  const auto html = episode_page(two_reports(), "df-eval --task x", {.sheet = "sheet.png", .closed_loop = "loop.mp4", .denoising = ""});
  test::check_page(html, folder.path());
  std::vector<std::string> best;
  for (const auto& element : test::parse_xml(html))
    if (element.attributes.count("class") > 0 && element.attributes.at("class") == "best") best.push_back(element.attributes.at("title"));
  ASSERT_EQ(best.size(), 3U);
  EXPECT_EQ(best[0].rfind("<slow>: 2.5", 0), 0U) << best[0];
  EXPECT_EQ(best[1].rfind("quick: 13.3", 0), 0U) << best[1];
  EXPECT_EQ(best[2], "quick: 75.0 %");
  EXPECT_NE(html.find("step of the episode 40\n&lt;slow&gt;: 50\nquick: 75"), std::string::npos) << "the share that has arrived by the end";
  for (const char* words : {"point &amp; goal", "df-eval --task x", "goals: single", "4 episodes of 40 steps", "<video src=\"loop.mp4\""})
    EXPECT_NE(html.find(words), std::string::npos) << words;
}

TEST(EpisodePage, NeedsAReport) {
  EXPECT_NE(test::error_of([] { episode_page({}, "", {}); }).find("expected at least one report, got none"), std::string::npos);
}

}  // namespace df
