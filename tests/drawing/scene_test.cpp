// SPDX-License-Identifier: MIT
#include "diffusion_forcing/drawing/scene.hpp"

#include <ATen/ATen.h>

#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/media/media.hpp"
#include "support/support.hpp"
#include "support/xml.hpp"

namespace df::drawing {

namespace {

Scene small_scene() {
  Scene scene;
  scene.width = 60;
  scene.height = 40;
  scene.description = {"a < b & \"c\"", "details"};
  scene.add(box(10, 10, 20, 10, fixed_paint({200, 30, 40})), "hover <here>", 3);
  scene.add(box(30, 10, 20, 10, series_paint(0)), "", 3);
  scene.add(Line{{{10, 30}, {50, 30}}, series_paint(1), 3.0});
  scene.add(Words{"x > \x01\xff y", {2, 8}, 8.0, Anchor::start, false, role_paint(Paint::Role::text), ""});
  return scene;
}

int64_t count(const Tensor& image, int r, int g, int b) {
  const auto colour = at::tensor({r, g, b}, at::kInt).view({3, 1, 1});
  return ((image.to(at::kInt) - colour).abs().amax(0) <= 3).sum().item<int64_t>();
}

}  // namespace

TEST(Scene, IsWellFormedSvgForThoseWhoSeeAndThoseWhoDoNot) {
  const auto elements = test::parse_xml(svg_file(small_scene()));
  EXPECT_EQ(elements[0].name, "svg");
  EXPECT_EQ(elements[0].attributes.at("role"), "img");
  EXPECT_EQ(elements[1].name, "title");
  EXPECT_EQ(elements[1].text, "a < b & \"c\"");
  EXPECT_EQ(elements[2].text, "details");
  std::string words;
  for (size_t i = 3; i < elements.size(); ++i) {
    if (elements[i].name == "text") words = elements[i].text;
    if (elements[i].name != "title") continue;
    EXPECT_EQ(elements[i].text, "hover <here>");
    EXPECT_EQ(elements[elements[elements[i].parent].parent].attributes.at("class"), "together");
  }
  EXPECT_EQ(words, "x > \xEF\xBF\xBD\xEF\xBF\xBD y") << "what XML cannot say is replaced";
  const auto file = svg_file(small_scene());
  EXPECT_NE(file.find("prefers-color-scheme:dark"), std::string::npos);
  EXPECT_NE(file.find("fill=\"#0072b2\""), std::string::npos) << "for readers without style sheets";
}

TEST(Scene, IsPaintedAsItIsWritten) {
  const auto image = paint(small_scene(), 2.0);
  EXPECT_EQ(image.sizes(), (std::vector<int64_t>{3, 80, 120}));
  EXPECT_NEAR(static_cast<double>(count(image, 200, 30, 40)), 40 * 20, 80);
  EXPECT_NEAR(static_cast<double>(count(image, 0, 114, 178)), 40 * 20, 80);
  EXPECT_GT(count(image, 213, 94, 0), 80 * 4);
  EXPECT_EQ(image[0][30][40].item<int>(), 200) << "(20, 15) is in the first box";
  EXPECT_EQ(image[2][30][80].item<int>(), 178) << "(40, 15) is in the second";
  EXPECT_EQ(count(image, 255, 255, 255) > 4000, true) << "paper";
  Scene half = small_scene();
  half.marks.clear();
  half.add(box(0, 0, 60, 40, fixed_paint({0, 0, 0}), 0.5));
  EXPECT_NEAR(paint(half).to(at::kDouble).mean().item<double>(), 127.5, 3.0);
}

TEST(Scene, PlacesOthersWithoutMixingTheirGroups) {
  const Scene two = arrange({small_scene(), small_scene(), small_scene()}, 2);
  EXPECT_EQ(two.width, 120);
  EXPECT_EQ(two.height, 80);
  EXPECT_EQ(two.marks.size(), 12U);
  EXPECT_EQ(two.marks[0].together, 3);
  EXPECT_EQ(two.marks[4].together, 6);
  EXPECT_EQ(std::get<Area>(two.marks[8].shape).corners[0].y, 50) << "the third one is in the second row";
  EXPECT_EQ(std::get<Area>(two.marks[4].shape).corners[0].x, 70);
}

TEST(Scene, IsWrittenByTheEndingOfItsName) {
  const test::TemporaryFolder folder;
  write_picture(folder.path() / "a.svg", small_scene());
  EXPECT_EQ(read_file(folder.path() / "a.svg"), svg_file(small_scene()));
  write_picture(folder.path() / "a.png", small_scene());
  EXPECT_TRUE(test::identical(read_image(folder.path() / "a.png"), paint(small_scene(), 2.0)));
  EXPECT_NE(test::error_of([&] { write_picture(folder.path() / "a.jpg", small_scene()); }).find("expected .svg or .png"),
            std::string::npos);
}

}  // namespace df::drawing
