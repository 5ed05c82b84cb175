// SPDX-License-Identifier: MIT
// df-train and df-schedule from end to end.
#include <ATen/ATen.h>

#include <filesystem>

#include "apps/programs.hpp"
#include "diffusion_forcing/config/experiment.hpp"
#include "diffusion_forcing/core/safetensors.hpp"
#include "diffusion_forcing/media/media.hpp"
#include "diffusion_forcing/models/unet_gru.hpp"
#include "support/xml.hpp"

namespace df {

TEST_F(Programs, SayWhatIsWrongWithTheirArguments) {
  EXPECT_EQ(run("df-train", "--version").code, 0);
  for (const std::string program : {"df-train", "df-sample", "df-schedule"}) {
    const auto help = run(program, "--help");
    EXPECT_EQ(help.code, 0);
    EXPECT_NE(help.out.find("Examples:"), std::string::npos) << help.out;
    EXPECT_EQ(run(program, "--no-such-option").code, 2);
  }
  EXPECT_EQ(run("df-sample", "--out x.mp4").code, 2);
  const auto missing = run("df-train", "");
  EXPECT_EQ(missing.code, 2);
  EXPECT_EQ(missing.out, "df-train: --config: missing; expected an experiment file, or --resume with --out RUN\n");
  const auto key = run("df-train", tiny + " --set training.stepz=3 --print-config");
  EXPECT_EQ(key.code, 2);
  EXPECT_EQ(key.out.rfind("df-train: command line: training.stepz: unknown key; did you mean 'steps'? known keys: ", 0), 0u) << key.out;
  const auto range = run("df-train", tiny + " --set sampling.steps=21 --print-config");
  EXPECT_EQ(range.code, 2) << range.out;
}

TEST_F(Programs, PrintConfigReadsBackAsItself) {
  const auto first = run("df-train", tiny + " --print-config");
  ASSERT_EQ(first.code, 0) << first.out;
  EXPECT_EQ(parse_experiment(first.out, "printed").model.get<UnetGruConfig>().width, 8);
  write("printed.yaml", first.out);
  EXPECT_EQ(run("df-train", "--print-config --config " + path("printed.yaml")).out, first.out);
}

TEST_F(Programs, DryRunTellsTheCostAndWritesNothing) {
  const auto outcome = run("df-train", tiny + " --dry-run --out " + path("run"));
  EXPECT_EQ(outcome.code, 0) << outcome.out;
  EXPECT_NE(outcome.out.find("4 tokens of [6, 16, 16]"), std::string::npos) << outcome.out;
  EXPECT_NE(outcome.out.find("parameters"), std::string::npos) << outcome.out;
  EXPECT_FALSE(fs::exists(path("run")));
}

TEST_F(Programs, ResumedTrainingEqualsUninterruptedTraining) {
  ASSERT_EQ(train("whole", 4).code, 0);
  ASSERT_EQ(train("parts", 2, "--set training.decay=constant").code, 0);
  const auto other = run("df-train", tiny + " --resume --set training.beta2=0.95 --out " + path("parts"));
  EXPECT_EQ(other.code, 2);
  EXPECT_NE(other.out.find("training.beta2: 0.99 there, 0.95 here"), std::string::npos) << other.out;
  EXPECT_NE(other.out.find("add --force"), std::string::npos) << other.out;
  ASSERT_EQ(train("constant", 4, "--set training.decay=constant").code, 0);
  const auto resumed = run("df-train", "--device cpu --resume --out " + path("parts") + " --set training.steps=4");
  ASSERT_EQ(resumed.code, 0) << resumed.out;
  for (const std::string file : {"model.safetensors", "ema.safetensors", "trainer.safetensors"}) {
    const auto whole = read_safetensors(path("constant/checkpoints/step_4/" + file)).tensors;
    const auto parts = read_safetensors(path("parts/checkpoints/step_4/" + file)).tensors;
    ASSERT_EQ(whole.size(), parts.size());
    for (const auto& [name, tensor] : whole) EXPECT_TRUE(test::identical(tensor, parts.at(name))) << file << " " << name;
  }
  const auto again = train("whole", 4);
  EXPECT_EQ(again.code, 1);
  EXPECT_NE(again.out.find("expected a new or empty folder"), std::string::npos) << again.out;
}

TEST_F(Programs, ScheduleShowsAndChecksMatrices) {
  const auto shown = run("df-schedule", "--schedule pyramid --tokens 3 --steps 2 --levels 10 --out " + path("m.csv"));
  ASSERT_EQ(shown.code, 0) << shown.out;
  EXPECT_NE(shown.out.find("    0  10 10 10\n    1   5 10 10\n    2   0  5 10\n    3   0  0  5\n    4   0  0  0\n"), std::string::npos)
      << shown.out;
  EXPECT_EQ(run("df-schedule", "--levels 10 --file " + path("m.csv")).code, 0);
  write("bad.csv", "10,10\n5,10\n7,0\n0,0\n");
  const auto bad = run("df-schedule", "--levels 10 --file " + path("bad.csv"));
  EXPECT_EQ(bad.code, 1);
  EXPECT_NE(bad.out.find("bad.csv: row 2, column 0: "), std::string::npos) << bad.out;
  ASSERT_EQ(run("df-schedule", "--schedule trapezoid --out " + path("m.png")).code, 0);
  EXPECT_EQ(read_image(path("m.png")).size(0), 3);
  ASSERT_EQ(run("df-schedule", "--schedule trapezoid --out " + path("m.svg")).code, 0);
  EXPECT_EQ(test::parse_xml(read_file(path("m.svg"))).front().attributes.at("role"), "img");
  EXPECT_EQ(run("df-schedule", "--out " + path("m.txt")).code, 2);
  EXPECT_EQ(run("df-schedule", "--schedule pyramids").code, 1);
}

TEST_F(Programs, AnInterruptSavesAndSaysHowToGoOn) {
  const std::string run_folder = path("run"), log = path("log");
  const auto outcome = shell(
      program("df-train") + tiny + " --set training.steps=1000000 --out " + run_folder + " >" + log +
      " 2>&1 & pid=$!; for i in $(seq 600); do [ -s " + run_folder +
      "/metrics.jsonl ] && break; sleep 0.1; done; kill -INT $pid; sleep 0.02; kill -INT $pid; wait $pid");  // twice, as timeout(1) does
  const std::string text = read_file(log);
  EXPECT_EQ(outcome.code, 130) << text;
  EXPECT_NE(text.find("go on with: df-train --resume --out " + run_folder), std::string::npos) << text;
  int64_t checkpoints = 0;
  for (const auto& entry : fs::directory_iterator(run_folder + "/checkpoints"))
    checkpoints += entry.path().filename().string().starts_with("step_");
  ASSERT_GE(checkpoints, 1);
  EXPECT_EQ(run("df-train", "--device cpu --resume --dry-run --out " + run_folder).code, 0);
}

TEST_F(Programs, WeightsAreAStartForAnotherRun) {
  ASSERT_EQ(train("first", 1).code, 0);
  const std::string weights = path("first/checkpoints/step_1/model.safetensors");
  const auto second = train("second", 1, "--init " + weights + " --set training.learning_rate=0.000000001 --set training.weight_decay=0");
  ASSERT_EQ(second.code, 0) << second.out;
  const auto before = read_safetensors(weights).tensors,
             after = read_safetensors(path("second/checkpoints/step_1/model.safetensors")).tensors;
  for (const auto& [name, tensor] : before) EXPECT_TRUE(test::close(tensor, after.at(name), 1e-6)) << name;
  const auto wider = train("third", 1, "--init " + weights + " --set model.width=16");
  EXPECT_EQ(wider.code, 1);
  EXPECT_NE(wider.out.find("expected"), std::string::npos) << wider.out;
}

TEST_F(Programs, ARunFolderThatCannotBeWrittenIsAnErrorAtTheStart) {
  write("file", "not a folder");
  const auto outcome = train("file/run", 1);
  EXPECT_EQ(outcome.code, 1);
  EXPECT_NE(outcome.out.find("file"), std::string::npos) << outcome.out;
  const auto device =
      run("df-train", "--config " + std::string(DF_SOURCE_DIR) + "/configs/video_quick.yaml --device cuda:7 --out " + path("run"));
  EXPECT_NE(device.code, 0);
  EXPECT_NE(device.out.find("cuda:7"), std::string::npos) << device.out;
}

TEST_F(Programs, AFullDiskStopsTrainingAndKeepsTheOldCheckpoint) {
  ASSERT_EQ(train("run", 1).code, 0);
  // A limit on the size of files stands for the disk: no file may grow beyond 4 KB.
  const auto outcome = shell("trap '' XFSZ; ulimit -f 4; " + program("df-train") + " --device cpu --resume --out " + path("run") +
                             " --set training.steps=2 2>&1 | cat");
  EXPECT_NE(outcome.out.find("df-train: "), std::string::npos) << outcome.out;
  EXPECT_NE(outcome.out.find("File too large"), std::string::npos) << outcome.out;
  EXPECT_NE(outcome.out.find(path("run")), std::string::npos) << outcome.out;
  EXPECT_FALSE(fs::exists(path("run/checkpoints/step_2")));
  const auto resumed = run("df-train", "--device cpu --resume --out " + path("run") + " --set training.steps=2");
  EXPECT_EQ(resumed.code, 0) << resumed.out;
  EXPECT_TRUE(fs::exists(path("run/checkpoints/step_2")));
}

TEST_F(Programs, Maze2dDataAreMadeAndLookedAt) {
  const auto made = run("df-data", "maze2d-umaze-v1 --rows 3000 --seed 2 --out " + path("umaze.hdf5"));
  EXPECT_EQ(made.code, 0) << made.out;
  for (const char* text : {"#GOO#", "3000 rows, ", "\nmean x ", " 1.93279 ", "smaller sets vary more"})
    EXPECT_NE(made.out.find(text), std::string::npos) << text << " in\n" << made.out;
  const auto seen = run("df-data", "maze2d-umaze-v1 --file " + path("umaze.hdf5"));
  EXPECT_EQ(seen.code, 0) << seen.out;
  EXPECT_NE(made.out.find(seen.out.substr(seen.out.find("3000 rows"))), std::string::npos) << seen.out;
  const auto other = run("df-data", "maze2d-medium-v1 --file " + path("umaze.hdf5"));  // rewards of another goal
  EXPECT_EQ(other.code, 1) << other.out;
  EXPECT_NE(other.out.find("not D4RL's form: rewards: expected those of maze2d-medium-v1"), std::string::npos) << other.out;
  const auto unknown = run("df-data", "maze2d-huge-v1");
  EXPECT_EQ(unknown.code, 1);
  EXPECT_NE(unknown.out.find("unknown task 'maze2d-huge-v1'; expected one of: maze2d-umaze-v1, "), std::string::npos) << unknown.out;
  EXPECT_EQ(run("df-data", "maze2d-umaze-v1 --data maze_video").code, 2);
  EXPECT_EQ(run("df-data", "--data maze_video --rows 5").code, 2);
}

TEST_F(Programs, TrainOnAMaze) {
  const std::string maze = " --config " + std::string(DF_SOURCE_DIR) +
                           "/configs/maze2d_umaze.yaml --device cpu --set data.rows=2000 --set data.held_out=0.2" +
                           " --set data.cache=" + path("cache") + " --set model.width=4 --set model.latent=8 --set training.batch=4" +
                           " --set training.validate_every=2 --set training.validation_batches=1 --set training.sample_every=2";
  const auto trained = run("df-train", maze + " --set training.steps=2 --out " + path("run"));
  ASSERT_EQ(trained.code, 0) << trained.out;
  EXPECT_NE(trained.out.find("30 tokens of [60] a sequence"), std::string::npos) << trained.out;
  EXPECT_NE(trained.out.find("validation loss"), std::string::npos) << trained.out;
  EXPECT_NE(read_file(path("run/run.json")).find("\"frame_std\""), std::string::npos);
  test::check_page(read_file(path("run/index.html")), path("run"));
  const auto sample = run("df-sample", "--checkpoint " + path("run") + " --device cpu --out " + path("x.mp4"));
  EXPECT_EQ(sample.code, 1) << sample.out;
  const auto statistics = run("df-data", "--config " + path("run/config.yaml") + " --stats 3");
  EXPECT_EQ(statistics.code, 1);
  EXPECT_NE(statistics.out.find("--stats: expected a data set of videos, got maze2d maze2d-umaze-v1"), std::string::npos) << statistics.out;
}

}  // namespace df
