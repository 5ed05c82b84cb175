// SPDX-License-Identifier: MIT
#include "diffusion_forcing/training/run_page.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "diffusion_forcing/core/file.hpp"
#include "support/support.hpp"
#include "support/xml.hpp"

namespace df::test {

namespace {

class RunPage : public ::testing::Test {
 protected:
  // Writes the page of these metrics and gives it, checked.
  std::string page_of(const std::string& metrics) const {
    write_atomically(folder_.path() / "metrics.jsonl", metrics);
    return page();
  }
  std::string page() const {
    write_training_page(folder_.path());
    const auto html = read_file(folder_.path() / "index.html");
    check_page(html, folder_.path());
    return html;
  }
  TemporaryFolder folder_;
};

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

// The lines of a series: the paths that are drawn with its colour over at least `least` points.
size_t lines_in(const std::string& html, const std::string& style, size_t least = 3) {
  const auto elements = parse_xml(html);
  return static_cast<size_t>(std::count_if(elements.begin(), elements.end(), [&](const Element& e) {
    return e.name == "path" && e.attributes.count("class") > 0 && e.attributes.at("class") == style &&
           count(e.attributes.at("d"), "L") + 1 >= least;
  }));
}

}  // namespace

TEST_F(RunPage, ShowsLossesRateSpeedValidationAndSamples) {
  std::string metrics;
  for (int step = 10; step <= 200; step += 10) {
    metrics += fmt::format("{{\"step\":{},\"time\":1.5,\"train/loss\":{},\"train/learning_rate\":0.001,\"train/steps_per_second\":3.5}}\n",
                           step, 1.0 / step);
    if (step % 100 == 0)
      metrics += fmt::format("{{\"step\":{},\"val/loss\":0.5,\"val/x0_error/0.10\":0.1,\"val/x0_error/1.00\":1}}\n", step);
  }
  for (const char* file : {"samples/step_50.mp4", "samples/step_200.mp4", "samples/notes.txt", "config.yaml"})
    write_atomically(folder_.path() / file, "x");
  write_atomically(folder_.path() / "run.json", "{\"commit\": \"abc<\", \"data\": {\"tokens\": 4}}");
  const auto html = page_of(metrics);
  for (const char* words : {"in 200 steps", ">Loss<", ">validation<", "Error of the predicted clean token", ">k = 0.10 K<", "Learning rate",
                            "Training steps a second", "commit: abc&lt;", "train/steps_per_second"})
    EXPECT_NE(html.find(words), std::string::npos) << words;
  EXPECT_NE(html.find("<video src=\"samples/step_200.mp4\""), std::string::npos) << "the last one is shown";
  EXPECT_NE(html.find("<a href=\"samples/step_50.mp4\">"), std::string::npos) << "earlier ones are linked";
  EXPECT_EQ(html.find("notes.txt"), std::string::npos);
  EXPECT_EQ(html.find("no value yet"), std::string::npos);
}

TEST_F(RunPage, AnEmptyRunHasAPageToo) {
  EXPECT_NE(page().find("Nothing has been logged yet"), std::string::npos);
  EXPECT_NE(page_of("").find("Nothing has been logged yet"), std::string::npos);
  EXPECT_NE(page_of("{\"step\": 3, \"train/lo").find("Nothing has been logged yet"), std::string::npos) << "a line cut short";
}

TEST_F(RunPage, UnknownValuesLeaveGaps) {
  std::string metrics;
  for (int step = 1; step <= 9; ++step)
    metrics += fmt::format("{{\"step\":{},\"train/loss\":{},\"train/gradient_norm\":null}}\n", step, step == 5 ? "null" : "0.5");
  const auto html = page_of(metrics);
  EXPECT_EQ(lines_in(html, "l-s0"), 2U) << "the loss before and after the step without a number";
  EXPECT_NE(html.find("no value yet"), std::string::npos) << "no norm was ever a number";
}

TEST_F(RunPage, LostLinesBreakTheCurveAndRepeatedStepsCountOnce) {
  std::string metrics;
  const auto line = [&](int step, double loss) { metrics += fmt::format("{{\"step\":{},\"train/loss\":{}}}\n", step, loss); };
  for (int step = 0; step < 20; ++step) line(step, 0.5);
  for (int step = 400; step < 420; ++step) line(step, 0.25);
  const auto gap = page_of(metrics);
  EXPECT_EQ(lines_in(gap, "l-s0"), 2U) << "nothing is drawn where nothing was logged";
  line(419, 0.125);  // a resumed run says it again
  const auto html = page_of(metrics);
  EXPECT_NE(html.find("0.125</a> <small>step 419"), std::string::npos) << "the later line counts";
  EXPECT_EQ(lines_in(html, "l-s0"), 2U);
}

TEST_F(RunPage, ManyStepsAreDrawnAsMeansAndBands) {
  std::string metrics;
  for (int step = 0; step < 5000; ++step) metrics += fmt::format("{{\"step\":{},\"train/loss\":{}}}\n", step, step % 2 == 0 ? 1.0 : 3.0);
  const auto html = page_of(metrics);
  EXPECT_LT(html.size(), 200U << 10);
  EXPECT_EQ(lines_in(html, "f-s0"), 1U) << "a band from the least to the most";
}

}  // namespace df::test
