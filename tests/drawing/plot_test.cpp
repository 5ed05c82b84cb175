// SPDX-License-Identifier: MIT
#include "diffusion_forcing/drawing/plot.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "drawing/clip.hpp"
#include "drawing/ticks.hpp"
#include "support/support.hpp"
#include "support/xml.hpp"

namespace df::drawing {

namespace {

constexpr double unknown = std::numeric_limits<double>::quiet_NaN(), infinite = std::numeric_limits<double>::infinity();

Plot plot_of(std::vector<Series> series) {
  Plot plot;
  plot.title = "Loss";
  plot.x.title = "step";
  plot.y.better = Better::lower;
  plot.series = std::move(series);
  return plot;
}

template <class Shape>
std::vector<Shape> shapes(const Scene& scene) {
  std::vector<Shape> all;
  for (const Mark& mark : scene.marks)
    if (const auto* shape = std::get_if<Shape>(&mark.shape)) all.push_back(*shape);
  return all;
}

std::vector<Line> lines_of(const Scene& scene, int64_t series) {
  auto all = shapes<Line>(scene);
  std::erase_if(all, [&](const Line& line) { return line.paint.role != Paint::Role::series || line.paint.series != series; });
  return all;
}

// The axes are where the areas without paint are, which say the values.
Frame frame_of(const Scene& scene) {
  Frame frame{infinite, infinite, -infinite, -infinite};
  for (const Area& area : shapes<Area>(scene))
    if (area.paint.role == Paint::Role::none)
      for (const Point& p : area.corners)
        frame = {std::min(frame.left, p.x), std::min(frame.top, p.y), std::max(frame.right, p.x), std::max(frame.bottom, p.y)};
  return frame;
}

bool has_words(const Scene& scene, const std::string& text) {
  const auto all = shapes<Words>(scene);
  return std::any_of(all.begin(), all.end(), [&](const Words& words) { return words.text == text; });
}

std::vector<std::string> hovers_of(const Scene& scene) {
  std::vector<std::string> all;
  for (const Mark& mark : scene.marks)
    if (!mark.hover.empty()) all.push_back(mark.hover);
  return all;
}

}  // namespace

TEST(Ticks, AreRoundAndInTheRange) {
  EXPECT_EQ(round_ticks(0.0, 1.0, 6), (std::vector<double>{0.0, 0.2, 0.4, 3 * 0.2, 0.8, 1.0}));
  EXPECT_EQ(round_ticks(-3.0, 7.0, 3), (std::vector<double>{0.0, 5.0}));
  EXPECT_EQ(round_ticks(975.0, 25.0, 5).size(), 0U);
  EXPECT_EQ(round_ticks(0.0, unknown, 5).size(), 0U);
  EXPECT_EQ(round_ticks(2.5, 2.5, 5), (std::vector<double>{2.5}));
  for (const double low : {-1e6, -0.37, 0.0, 1e-7, 3.3})
    for (const double span : {1e-6, 0.03, 1.0, 777.0, 5e8})
      for (const int most : {2, 5, 9}) {
        const auto ticks = round_ticks(low, low + span, most);
        ASSERT_LE(ticks.size(), static_cast<size_t>(most));
        ASSERT_GE(static_cast<int>(ticks.size()), most / 3) << low << " " << span;
        for (size_t i = 0; i < ticks.size(); ++i) {
          EXPECT_GE(ticks[i], low - 1e-6 * span);
          EXPECT_LE(ticks[i], low + span * (1 + 1e-6));
        }
        if (ticks.size() < 2) continue;
        const double step = ticks[1] - ticks[0], leading = step / std::pow(10.0, std::floor(std::log10(step * 1.001)));
        EXPECT_TRUE(std::abs(leading - 1) < 0.02 || std::abs(leading - 2) < 0.02 || std::abs(leading - 5) < 0.05) << step;
      }
}

TEST(Ticks, ArePowersOfTenOnALogarithmicAxis) {
  EXPECT_EQ(Scale({0.5, 2000.0}, true).ticks(5), (std::vector<double>{1, 10, 100, 1000}));
  EXPECT_EQ(Scale({0.9, 12.0}, true).ticks(5), (std::vector<double>{1, 2, 5, 10}));
  EXPECT_EQ(Scale({3.0, 4.5}, true).ticks(5), (std::vector<double>{3, 3.5, 4, 4.5}));
  EXPECT_DOUBLE_EQ(Scale({1.0, 100.0}, true).share(10.0), 0.5);
  EXPECT_TRUE(std::isnan(Scale({1.0, 100.0}, true).share(0.0)));
  EXPECT_EQ(tick_words(25000, 30000), "25k");
  EXPECT_EQ(tick_words(5000, 20000), "5k");
  EXPECT_EQ(tick_words(0.25, 1), "0.25");
  EXPECT_EQ(tick_words(1e-4, 1e-4), "1e-4");
  EXPECT_EQ(tick_words(0.0, 1e-4), "0");
}

TEST(Clip, CutsAreasAndLinesAtTheFrame) {
  const Frame frame{0, 0, 10, 10};
  const auto area = clip_area({{-5, 5}, {5, -5}, {15, 5}, {5, 15}}, frame);  // a diamond around the frame's corners
  ASSERT_GE(area.size(), 4U);
  for (const Point& p : area) EXPECT_TRUE(frame.holds(p)) << p.x << " " << p.y;
  EXPECT_TRUE(clip_area({{20, 20}, {30, 20}, {30, 30}}, frame).empty());
  const auto pieces = clip_line({{-10, 5}, {5, 5}, {5, 25}, {8, 25}, {8, 5}}, frame);
  ASSERT_EQ(pieces.size(), 2U) << "out of the frame and in again";
  EXPECT_EQ(pieces[0].size(), 3U);
  EXPECT_DOUBLE_EQ(pieces[0][0].x, 0.0);
  EXPECT_DOUBLE_EQ(pieces[0][2].y, 10.0);
  EXPECT_DOUBLE_EQ(pieces[1][0].y, 10.0);
  EXPECT_TRUE(clip_line({{-1, -1}}, frame).empty());
}

TEST(Plot, NothingLeavesTheAxes) {
  Series wild{"wild", {}, {}, {}, {}, {}, false};
  for (int i = 0; i < 30; ++i) {
    wild.x.push_back(i);
    wild.y.push_back(std::sin(i));
    wild.low.push_back(std::sin(i) - (i % 7 == 0 ? 1e6 : 0.1));
    wild.high.push_back(std::sin(i) + (i % 5 == 0 ? 1e9 : 0.1));
  }
  const Scene scene = draw(plot_of({wild}));
  const Frame frame = frame_of(scene);
  EXPECT_LT(frame.bottom, scene.height);
  EXPECT_LT(frame.right, scene.width);
  size_t bands = 0;
  for (const Area& area : shapes<Area>(scene)) {
    bands += area.paint.role == Paint::Role::series;
    for (const Point& p : area.corners) EXPECT_TRUE(frame.holds(p)) << p.x << " " << p.y;
  }
  EXPECT_EQ(bands, 1U);
  for (const Line& line : lines_of(scene, 0))
    for (const Point& p : line.points) EXPECT_TRUE(frame.holds(p)) << p.x << " " << p.y;
}

TEST(Plot, UnknownValuesLeaveGapsAndOnePointIsADot) {
  const Scene scene = draw(plot_of({{"a", {1, 2, 3, 4, 5}, {1, 2, unknown, infinite, 1}, {}, {}, {}, false}}));
  const auto lines = lines_of(scene, 0);
  const auto longer = std::count_if(lines.begin(), lines.end(), [](const Line& line) { return line.points.size() == 2; });
  EXPECT_EQ(longer, 1) << "from 1 to 2";
  const auto last = std::count_if(lines.begin(), lines.end(), [](const Line& line) { return line.points.size() == 1 && line.width > 5.5; });
  EXPECT_EQ(last, 1) << "5 stands alone";
  const Scene single = draw(plot_of({{"a", {7}, {0.5}, {0.2}, {0.8}, {"frame 7"}, false}}));
  EXPECT_EQ(hovers_of(single), (std::vector<std::string>{"frame 7\na: 0.5 [0.2, 0.8]"}));
  const Frame frame = frame_of(single);
  for (const Line& line : lines_of(single, 0))
    for (const Point& p : line.points) EXPECT_TRUE(frame.holds(p));
}

TEST(Plot, EmptySeriesSaySo) {
  for (const auto& plot :
       {plot_of({}), plot_of({{"a", {}, {}, {}, {}, {}, false}}), plot_of({{"a", {1, 2}, {unknown, infinite}, {}, {}, {}, false}})}) {
    const Scene scene = draw(plot);
    EXPECT_TRUE(has_words(scene, "no value yet"));
    EXPECT_TRUE(hovers_of(scene).empty());
    EXPECT_NO_THROW(test::parse_xml(svg_file(scene)));
  }
}

TEST(Plot, NamesItsAxesItsLinesAndTheBetterSide) {
  auto plot = plot_of({{"real", {1, 2}, {1, 1}, {}, {}, {}, true}, {"mine", {1, 2}, {2, 3}, {}, {}, {}, false}});
  plot.y.unit = "dB";
  plot.y.better = Better::higher;
  const Scene scene = draw(plot);
  for (const char* text : {"Loss", "higher is better, dB", "step", "real", "mine"}) EXPECT_TRUE(has_words(scene, text)) << text;
  EXPECT_FALSE(lines_of(scene, 0).empty()) << "the first that is no reference has the first colour";
  EXPECT_TRUE(lines_of(scene, 1).empty());
  const auto lines = shapes<Line>(scene);
  EXPECT_TRUE(std::any_of(lines.begin(), lines.end(), [](const Line& line) { return line.dashed; }));
  EXPECT_EQ(hovers_of(scene)[1], "step 2\nreal: 1\nmine: 3");
  EXPECT_NE(scene.description.details.find("mine: from 2 to 3"), std::string::npos);
  // The arrow's tip is where its wings meet: above its other end for higher, below it for lower.
  const auto tip_is_above = [](const Scene& drawn) {
    const auto all = shapes<Line>(drawn);
    const auto wings = std::find_if(all.begin(), all.end(), [](const Line& line) { return line.points.size() == 3; });
    return wings != all.end() && wings->points[1].y < wings->points[0].y;
  };
  EXPECT_TRUE(tip_is_above(scene));
  EXPECT_FALSE(tip_is_above(draw(plot_of({{"mine", {1, 2}, {2, 3}, {}, {}, {}, false}}))));
}

TEST(Plot, SeriesOfUnequalLengthsAreRefused) {
  const auto message = test::error_of([] { draw(plot_of({{"a", {1, 2}, {1}, {}, {}, {}, false}})); });
  EXPECT_NE(message.find("plot 'Loss': series 'a': expected 2 values of y, got 1"), std::string::npos) << message;
  EXPECT_NE(test::error_of([] { draw(plot_of({{"a", {1}, {1}, {1}, {}, {}, false}})); }).find("low and high together"), std::string::npos);
}

}  // namespace df::drawing
