// SPDX-License-Identifier: MIT
// df-eval --task from end to end: controllers play a few short episodes, and what cannot be played is said.
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "apps/programs.hpp"
#include "support/xml.hpp"

namespace df {

TEST_F(Programs, TasksArePlayedByControllers) {
  const std::string start = "--task maze2d-umaze-v1 --episodes 4 --steps 40 ";
  const auto outcome = run("df-eval", start + "--policy replanning,random --out " + path("eval"));
  ASSERT_EQ(outcome.code, 0) << outcome.out;
  const auto table = read_file(path("eval/table.txt"));
  EXPECT_NE(outcome.out.find(table), std::string::npos) << outcome.out;
  for (const char* text :
       {"replanning ", " random\n", "40 steps of the full protocol's 300", "raw ", "normalised x 100 ", "first reach, steps ", "reached "})
    EXPECT_NE(table.find(text), std::string::npos) << text << " in\n" << table;
  const auto csv = read_file(path("eval/episodes.csv"));
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 1 + 2 * 4) << csv;
  const auto report = nlohmann::json::parse(read_file(path("eval/report.json")))["policies"];
  ASSERT_EQ(report.size(), 2U);
  EXPECT_EQ(report[1]["policy"], "random");
  EXPECT_EQ(report[0]["episodes"].size(), 4U);
  EXPECT_EQ(read_image(path("eval/mazes.png")).size(0), 3);
  test::check_page(read_file(path("eval/index.html")), path("eval"));
  EXPECT_EQ(frames_in(path("eval/closed_loop.mp4")), 11);
  EXPECT_FALSE(fs::exists(path("eval/denoising.mp4")));
  // Neither batch nor threads matter; another seed does. The controllers that come without being asked for.
  const auto csv_of = [&](const std::string& more) {
    const auto again = run("df-eval", start + more + " --out " + path("again"));
    EXPECT_EQ(again.code, 0) << again.out;
    return read_file(path("again/episodes.csv"));
  };
  EXPECT_EQ(csv_of("--policy replanning,random --batch 3 --threads 2"), csv);
  EXPECT_NE(csv_of("--policy replanning,random --seed 1"), csv);
  const auto ceilings = csv_of("--multi");
  EXPECT_NE(ceilings.find("\nnear_optimal,3,"), std::string::npos) << ceilings;
  EXPECT_EQ(ceilings.find("random"), std::string::npos);
  EXPECT_NE(ceilings, csv_of(""));
}

TEST_F(Programs, TasksSayWhatCannotBePlayed) {
  const std::string out = " --out " + path("eval") + " ";
  const auto error = [&](const std::string& arguments) {
    const auto outcome = run("df-eval", arguments + out);
    EXPECT_EQ(outcome.code, 2) << outcome.out;
    return outcome.out;
  };
  EXPECT_EQ(error("--task maze2d-huge-v1").rfind("df-eval: unknown task 'maze2d-huge-v1'; expected one of: maze2d-umaze-v1, ", 0), 0U);
  const std::string umaze = "--task maze2d-umaze-v1 ";
  EXPECT_EQ(error(umaze + "--sequences 3"), "df-eval: --sequences: is for the evaluation of videos, not for --task; see df-eval --help\n");
  EXPECT_EQ(error(umaze + "--schedule pyramid"),
            "df-eval: --schedule: is for the evaluation of videos, not for --task; see df-eval --help\n");
  EXPECT_EQ(error("--checkpoint x --multi"), "df-eval: --multi: is for the episodes of a --task, which is not given; see df-eval --help\n");
  EXPECT_EQ(error(umaze + "--set sampling.steps=3"), "df-eval: --set: is about the experiment of a --checkpoint, which is not given\n");
  EXPECT_EQ(error(""), "df-eval: --checkpoint, --task or --report is required; see df-eval --help\n");
  EXPECT_EQ(error(umaze + "--protocol best"), "df-eval: --protocol: unknown value 'best'; expected one of: full, paper\n");
  EXPECT_EQ(error(umaze + "--episodes 0"), "df-eval: episodes: expected 1 or more, got 0\n");
  EXPECT_EQ(error(umaze + "--policy random,best"),
            "df-eval: --policy: unknown policy 'best'; expected none or one of: replanning, stale, near_optimal, random\n");
  EXPECT_EQ(error(umaze + "--policy none"), "df-eval: --policy: expected a policy or a --checkpoint, got none\n");
  EXPECT_EQ(run("df-eval", umaze + "--checkpoint " + path("nothing") + out).code, 1);
  EXPECT_FALSE(fs::exists(path("eval")));
}

TEST_F(Programs, TasksWantModelsOfTheirMaze) {
  const std::string maze = " --config " + std::string(DF_SOURCE_DIR) +
                           "/configs/maze2d_umaze.yaml --device cpu --set data.rows=2000 --set data.held_out=0.2" +
                           " --set data.cache=" + path("cache") + " --set model.width=4 --set model.latent=8 --set training.batch=4" +
                           " --set training.validate_every=0 --set training.steps=1";
  ASSERT_EQ(run("df-train", maze + " --out " + path("maze")).code, 0);
  ASSERT_EQ(train("video", 1).code, 0);
  const auto play = [&](const std::string& task, const std::string& checkpoint, const std::string& more = "") {
    return run("df-eval", "--device cpu --steps 10 --episodes 2 --task " + task + " --checkpoint " + path(checkpoint) + " --out " +
                              path("eval") + " " + more);
  };
  const auto other = play("maze2d-large-v1", "maze");
  EXPECT_EQ(other.code, 2);
  EXPECT_NE(
      other.out.find("--checkpoint maze: expected a model of the maze of maze2d-large-v1, got one that was trained on maze2d-umaze-v1"),
      std::string::npos)
      << other.out;
  const auto video = play("maze2d-large-v1", "video");
  EXPECT_EQ(video.code, 2);
  EXPECT_NE(video.out.find("--checkpoint video: expected a model of a maze for maze2d-large-v1, got one of other data"), std::string::npos)
      << video.out;
  // Overrides are read as if they stood in the run's file.
  const auto steps = play("maze2d-umaze-v1", "maze", "--set sampling.steps=2000");
  EXPECT_EQ(steps.code, 2);
  EXPECT_NE(steps.out.find("sampling.steps"), std::string::npos) << steps.out;
  EXPECT_EQ(play("maze2d-umaze-v1", "maze", "--set sampling.stepz=20").code, 2);
  EXPECT_FALSE(fs::exists(path("eval")));
  const auto played = play("maze2d-umaze-v1", "maze", "--set sampling.steps=3 --policy random");
  ASSERT_EQ(played.code, 0) << played.out;
  EXPECT_NE(played.out.find("\ntask                maze2d-umaze-v1"), std::string::npos) << played.out;
  EXPECT_NE(played.out.find(" (2 worlds at once) "), std::string::npos) << played.out;
  const auto report = nlohmann::json::parse(read_file(path("eval/report.json")))["policies"];
  ASSERT_EQ(report.size(), 2U);
  EXPECT_EQ(report[0]["policy"], "maze");
  EXPECT_NE(report[0]["description"].get<std::string>().find("pyramid"), std::string::npos);
  EXPECT_EQ(report[1]["policy"], "random");
  EXPECT_EQ(frames_in(path("eval/denoising.mp4")), 3);  // one token, three steps
}

}  // namespace df
