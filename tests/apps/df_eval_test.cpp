// SPDX-License-Identifier: MIT
// df-eval from end to end: two models that know the actions, side by side.
#include <filesystem>
#include <nlohmann/json.hpp>

#include "apps/programs.hpp"
#include "diffusion_forcing/media/media.hpp"
#include "support/xml.hpp"

namespace df {

TEST_F(Programs, EvaluationPutsRunsSideBySide) {
  const std::string actions = "--set data.actions=true --set data.clips=16 ";
  ASSERT_EQ(train("a", 2, actions).code, 0);
  ASSERT_EQ(
      train("b", 2, actions + "--set training.noise=clean_history --set sampling.finished=reencode --set sampling.stabilization=0").code,
      0);
  const std::string start = "--device cpu --checkpoint " + path("a") + " " + path("b") +
                            " --sequences 3 --frames 20 --window 10 --context 2" +
                            " --likelihood-sequences 1 --likelihood-steps 3 --replicates 20 --out ";
  const auto outcome = run("df-eval", start + path("eval"));
  ASSERT_EQ(outcome.code, 0) << outcome.out;
  const auto report = nlohmann::json::parse(read_file(path("eval/report.json")));
  ASSERT_EQ(report["runs"].size(), 3U);
  EXPECT_EQ(report["runs"][0]["name"], "real");
  EXPECT_EQ(report["runs"][1]["name"], "a");
  EXPECT_EQ(report["runs"][2]["facts"]["training noise"], "clean_history");
  EXPECT_EQ(report["runs"][1]["frames"], 20);
  for (const std::string number : {"mse 1-10", "ssim 11-20", "frechet 11-20", "elbo prior (k = K)", "elbo posterior (k = 0)"}) {
    EXPECT_TRUE(report["runs"][1]["numbers"].contains(number)) << number;
    EXPECT_NE(outcome.out.find(number), std::string::npos) << number;
  }
  EXPECT_EQ(read_file(path("eval/curves.csv")).rfind("run,curve,first,last,value,low,high,sequences\n", 0), 0U);
  EXPECT_EQ(read_image(path("eval/sheet.png")).size(0), 3);
  EXPECT_EQ(read_image(path("eval/curves.png")).size(0), 3);
  EXPECT_NE(read_file(path("eval/index.html")).find("clean_history"), std::string::npos);
  test::check_page(read_file(path("eval/index.html")), path("eval"));
  EXPECT_EQ(frames_in(path("eval/side_by_side.mp4")), 20);
  for (const auto& entry : fs::directory_iterator(path("eval"))) EXPECT_NE(entry.path().extension(), ".raw") << entry.path();
  // How many sequences are rolled out at once changes nothing. Without pictures there are tables, and a report that they are drawn from
  // later.
  ASSERT_EQ(run("df-eval", start + path("one") + " --batch 1 --no-pictures").code, 0);
  EXPECT_FALSE(fs::exists(path("one/curves.png")) || fs::exists(path("one/sheet.png")));
  test::check_page(read_file(path("one/index.html")), path("one"));
  ASSERT_EQ(run("df-eval", "--report " + path("eval/report.json") + " --out " + path("later")).code, 0);
  for (const std::string file : {"report.json", "table.txt", "curves.csv", "curves.png"})
    EXPECT_TRUE(read_file(path("later/" + file)) == read_file(path("eval/" + file))) << file;
  test::check_page(read_file(path("later/index.html")), path("later"));
  const auto twice = run("df-eval", "--report " + path("eval/report.json") + " " + path("one/report.json") + " --out " + path("twice"));
  EXPECT_EQ(twice.code, 2);
  EXPECT_NE(twice.out.find("a second run named a"), std::string::npos) << twice.out;
  const auto one = nlohmann::json::parse(read_file(path("one/report.json")));
  const auto value = [](const nlohmann::json& r) { return r["runs"][1]["numbers"]["mse 11-20"]["value"].get<double>(); };
  EXPECT_NEAR(value(one), value(report), 1e-4);
}

TEST_F(Programs, EvaluationSaysWhatItCannotDo) {
  ASSERT_EQ(train("a", 1).code, 0);
  const std::string start = "--device cpu --checkpoint " + path("a") + " --out " + path("eval") + " ";
  const auto frames = run("df-eval", start + "--frames 21");
  EXPECT_EQ(frames.code, 2);
  EXPECT_NE(frames.out.find("frames: expected a multiple of the 2 frames of a token, got 21"), std::string::npos) << frames.out;
  EXPECT_EQ(run("df-eval", start + "--steps 21").code, 2);
  EXPECT_EQ(run("df-eval", "--checkpoint " + path("nothing") + " --out " + path("eval")).code, 1);
  ASSERT_EQ(train("larger", 1, "--set data.height=32").code, 0);
  const auto sizes = run("df-eval", "--device cpu --checkpoint " + path("a") + " " + path("larger") + " --frames 20 --out " + path("eval"));
  EXPECT_EQ(sizes.code, 2);
  EXPECT_NE(sizes.out.find("expected tokens of [6, 16, 16] as in"), std::string::npos) << sizes.out;
  EXPECT_FALSE(fs::exists(path("eval")));
  write_atomically(path("report.json"), "{\"runs\": [{\"name\": \"a\"}]}");
  const auto half = run("df-eval", "--report " + path("report.json") + " --out " + path("eval"));
  EXPECT_EQ(half.code, 1);
  EXPECT_NE(half.out.find("report.json: expected a report.json of df-eval, got: "), std::string::npos) << half.out;
  EXPECT_NE(half.out.find("key 'sequences' not found"), std::string::npos) << half.out;
}

}  // namespace df
