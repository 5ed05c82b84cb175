// SPDX-License-Identifier: MIT
#include "diffusion_forcing/training/progress.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>

#include "support/support.hpp"

namespace df {
namespace {

TEST(Progress, FormatSeconds) {
  EXPECT_EQ(Progress::format_seconds(0), "0:00");
  EXPECT_EQ(Progress::format_seconds(59.4), "0:59");
  EXPECT_EQ(Progress::format_seconds(59.6), "1:00");
  EXPECT_EQ(Progress::format_seconds(245), "4:05");
  EXPECT_EQ(Progress::format_seconds(3723), "1:02:03");
  EXPECT_EQ(Progress::format_seconds(360000), "100:00:00");
  EXPECT_EQ(Progress::format_seconds(-1), "0:00");
  EXPECT_EQ(Progress::format_seconds(std::numeric_limits<double>::infinity()), "?");
  EXPECT_EQ(Progress::format_seconds(std::nan("")), "?");
}

TEST(Progress, FormatLine) {
  EXPECT_EQ(Progress::format_line("train", 330, 1000, "steps", 8.07, "loss 0.012"),
            "train  [======>             ]  33%   330/1000 steps  8.1 steps/s  left 1:23  loss 0.012");
  EXPECT_EQ(Progress::format_line("train", 0, 10, "steps", 0.0, ""), "train  [>                   ]   0%   0/10 steps");
  EXPECT_EQ(Progress::format_line("sample", 10, 10, "frames", 120.4, ""),
            "sample  [====================] 100%  10/10 frames  120 frames/s");
  EXPECT_EQ(Progress::format_line("train", 1, 10, "steps", 0.05, ""),
            "train  [==>                 ]  10%   1/10 steps  20.0 s/step  left 3:00");
  // More than all, and nothing to do.
  EXPECT_NE(Progress::format_line("t", 12, 10, "steps", 0.0, "").find("100%"), std::string::npos);
  EXPECT_NE(Progress::format_line("t", 0, 0, "steps", 0.0, "").find("0/0"), std::string::npos);
}

TEST(Progress, PlainLinesInAFile) {
  std::ostringstream out;
  {
    Progress progress("train", 3, "steps", 0.0, out, 0);
    progress.update(1, "loss 3");
    progress.update(2, "loss 2");
    progress.finish();
  }
  const std::string text = out.str();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3);
  EXPECT_EQ(text.find('\r'), std::string::npos);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_NE(text.find("1/3 steps"), std::string::npos);
  EXPECT_EQ(text.substr(text.size() - 7), "loss 2\n");
}

TEST(Progress, FewLinesInAFile) {
  std::ostringstream out;
  Progress progress("train", 1000, "steps", 3600.0, out, 0);
  for (int64_t i = 1; i <= 1000; ++i) progress.update(i);
  EXPECT_EQ(out.str(), "");
  progress.finish("done");
  const std::string text = out.str();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  EXPECT_NE(text.find("1000/1000 steps"), std::string::npos);
  progress.finish("again");
  EXPECT_EQ(out.str(), text) << "finished once";
}

TEST(Progress, RedrawnAndCutInATerminal) {
  std::ostringstream out;
  {
    Progress progress("train", 1000, "steps", 15.0, out, 40);
    for (int64_t i = 1; i <= 1000; ++i) progress.update(i, "a text that is much longer than the terminal is wide");
    EXPECT_EQ(out.str().find('\n'), std::string::npos);
  }
  const std::string text = out.str();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << "the destructor ends the line";
  EXPECT_LT(std::count(text.begin(), text.end(), '\r'), 500) << "drawn at most ten times a second";
  const auto start = text.rfind('\r') + 1;
  EXPECT_EQ(text.find("\x1b[K", start) - start, 39u);
}

TEST(Progress, CutsBetweenCharacters) {
  std::ostringstream out;
  Progress progress("\xC3\xA4\xC3\xA4", 1, "steps", 15.0, out, 4);  // two characters of two bytes: three bytes would split one
  progress.update(0);
  EXPECT_EQ(out.str(), "\r\xC3\xA4\x1b[K");
}

TEST(Progress, ClearMakesRoom) {
  std::ostringstream out;
  Progress progress("train", 10, "steps", 15.0, out, 80);
  progress.clear();
  EXPECT_EQ(out.str(), "") << "nothing to wipe yet";
  progress.update(1);
  const auto before = out.str().size();
  progress.clear();
  EXPECT_EQ(out.str().substr(before), "\r\x1b[K");
}

}  // namespace
}  // namespace df
