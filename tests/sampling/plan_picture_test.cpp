// SPDX-License-Identifier: MIT
#include "diffusion_forcing/sampling/plan_picture.hpp"

#include <algorithm>
#include <set>

#include "support/support.hpp"
#include "support/xml.hpp"

namespace df::test {

namespace {

drawing::Scene picture_of(int64_t tokens, int64_t steps, const PlanPolicy& policy = {}) {
  const auto matrix = make_matrix(MatrixKind::pyramid, tokens, ladder(1000, steps), 1.0);
  return draw_plan(matrix, compile(matrix, policy), 1000);
}

std::vector<std::string> hovers_of(const drawing::Scene& scene, bool running) {
  std::vector<std::string> all;
  for (const auto& mark : scene.marks)
    if (!mark.hover.empty() && (mark.together != 0) == running) all.push_back(mark.hover);
  return all;
}

bool has_words(const drawing::Scene& scene, const std::string& text) {
  return std::any_of(scene.marks.begin(), scene.marks.end(), [&](const drawing::Mark& mark) {
    const auto* words = std::get_if<drawing::Words>(&mark.shape);
    return words && words->text == text;
  });
}

}  // namespace

TEST(PlanPicture, EveryCellThatRunsSaysItsStep) {
  const auto matrix = make_matrix(MatrixKind::pyramid, 4, ladder(1000, 3), 1.0);
  const auto plan = compile(matrix, {});
  const auto scene = draw_plan(matrix, plan, 1000);
  EXPECT_EQ(static_cast<int64_t>(hovers_of(scene, true).size()), plan.cells());
  std::set<int64_t> groups;
  for (const auto& mark : scene.marks) groups.insert(mark.together);
  EXPECT_EQ(groups.size(), plan.steps.size() + 1) << "the cells of a step light up together, and the rest has no group";
  EXPECT_EQ(hovers_of(scene, true).front(), "row 0, token 0: denoised, level 1000 to 666\nbatched step 1 of 9, 1 cell");
  EXPECT_EQ(hovers_of(scene, false).front(), "row 0, tokens 0 to 3: level 1000");
  for (const char* words :
       {"token t", "row m", "level", "1000 noise", "0 clean", "0", "3", "cells with a number run, in the batched step of that number"})
    EXPECT_TRUE(has_words(scene, words)) << words;
  EXPECT_NO_THROW(parse_xml(drawing::svg_file(scene)));
}

TEST(PlanPicture, MarksStayInTheMatrixWhateverItsSize) {
  for (const auto& [tokens, steps, note] : {std::tuple{1, 1, "cells with a number run, in the batched step of that number"},
                                            std::tuple{40, 50, "cells with a dot run"}, std::tuple{150, 100, "pale cells do not run"}}) {
    const auto scene = picture_of(tokens, steps);
    EXPECT_TRUE(has_words(scene, note)) << tokens;
    for (const auto& mark : scene.marks) {
      const auto inside = [&](const drawing::Point& p) { return p.x >= 0 && p.y >= 0 && p.x <= scene.width && p.y <= scene.height; };
      if (const auto* area = std::get_if<drawing::Area>(&mark.shape)) {
        EXPECT_TRUE(std::all_of(area->corners.begin(), area->corners.end(), inside));
      }
      if (const auto* words = std::get_if<drawing::Words>(&mark.shape)) {
        EXPECT_TRUE(inside(words->at)) << words->text;
      }
    }
    EXPECT_LT(drawing::svg_file(scene).size(), 4U << 20);
  }
}

TEST(PlanPicture, SaysWhatACellIsFor) {
  PlanPolicy policy;
  policy.finished = Finished::reencode;
  policy.stabilization = 10;
  const auto hovers = hovers_of(picture_of(3, 2, policy), true);
  EXPECT_TRUE(std::any_of(hovers.begin(), hovers.end(), [](const std::string& words) {
    return words.find("latent only, level 0, shown at 10") != std::string::npos;
  })) << hovers.size();
}

}  // namespace df::test
