// SPDX-License-Identifier: MIT
// The programs from end to end, as a user runs them.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <fstream>
#include <sstream>

#include "diffusion_forcing/config/experiment.hpp"
#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/core/npy.hpp"
#include "diffusion_forcing/core/safetensors.hpp"
#include "diffusion_forcing/media/media.hpp"
#include "support/support.hpp"

namespace df {

namespace {

struct Outcome {
  int code = -1;
  std::string out;  // stdout and stderr
};

Outcome run(const std::string& program, const std::string& arguments) {
  const std::string command = std::string(DF_BINARY_DIR) + "/bin/" + program + " " + arguments + " 2>&1";
  Outcome outcome;
  FILE* pipe = ::popen(command.c_str(), "r");
  if (!pipe) return outcome;
  char block[4096];
  for (size_t got; (got = std::fread(block, 1, sizeof block, pipe)) > 0;) outcome.out.append(block, got);
  const int status = ::pclose(pipe);
  outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return outcome;
}

// A network of a few thousand weights on 16 x 16 frames.
const std::string tiny = std::string(" --config ") + DF_SOURCE_DIR + "/configs/video_quick.yaml --device cpu" +
                         " --set data.height=16 --set data.width=16 --set data.frames=8 --set data.frame_stack=2 --set data.clips=8" +
                         " --set model.width=8 --set model.latent=4 --set model.multipliers=[1] --set model.attention=[none]" +
                         " --set model.middle_attention=none --set model.heads=1 --set model.decoder_width=8 --set training.batch=2" +
                         " --set training.validate_every=0 --set training.log_every=1 --set training.warmup=2 --set diffusion.levels=20" +
                         " --set sampling.steps=2";

class Programs : public ::testing::Test {
 protected:
  std::string path(const std::string& name) const { return (folder_.path() / name).string(); }
  void write(const std::string& name, const std::string& text) const { write_atomically(folder_.path() / name, text); }
  // Trains in `name` for `steps` steps.
  Outcome train(const std::string& name, int steps, const std::string& more = "") const {
    return run("df-train", tiny + " --set training.steps=" + std::to_string(steps) + " --out " + path(name) + " " + more);
  }
  test::TemporaryFolder folder_;
};

}  // namespace

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
  EXPECT_EQ(std::get<UnetGruConfig>(parse_experiment(first.out, "printed").model).width, 8);
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
  const auto other = run("df-train", tiny + " --resume --out " + path("parts"));
  EXPECT_EQ(other.code, 2);
  EXPECT_NE(other.out.find("training.decay: constant there, cosine here"), std::string::npos) << other.out;
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

TEST_F(Programs, SamplesAreTheSameForTheSameSeed) {
  ASSERT_EQ(train("run", 2).code, 0);
  const auto sample = [&](const std::string& name, const std::string& more) {
    const auto outcome = run("df-sample", "--device cpu --checkpoint " + path("run") + " --frames 7 --out " + path(name) + " " + more);
    EXPECT_EQ(outcome.code, 0) << outcome.out;
  };
  sample("a.npz", "--sequences 2 --seed 3");
  sample("b.npz", "--sequences 2 --seed 3");
  sample("c.npz", "--sequences 2 --seed 4");
  EXPECT_EQ(read_file(path("a.npz")), read_file(path("b.npz")));
  const auto a = read_npz(path("a.npz"), "video");
  EXPECT_EQ(a.sizes(), (at::IntArrayRef{2, 7, 16, 16, 3}));
  EXPECT_FALSE(at::equal(a, read_npz(path("c.npz"), "video")));
  sample("d.npz", "--context 2 --truth --schedule pyramid");
  const auto d = read_npz(path("d.npz"));
  EXPECT_EQ(d.at("video").sizes(), (at::IntArrayRef{1, 9, 16, 16, 3}));
  EXPECT_TRUE(test::identical(d.at("video").narrow(1, 0, 2), d.at("truth").narrow(1, 0, 2)));
  sample("e.mp4", "");
  const auto reader = open_video(path("e.mp4"));
  Tensor frame;
  int64_t frames = 0;
  while (reader->read(frame)) ++frames;
  EXPECT_EQ(frames, 7);
}

TEST_F(Programs, SampleSaysWhatItCannotDo) {
  const auto none = run("df-sample", "--checkpoint " + path("nothing") + " --out " + path("x.mp4"));
  EXPECT_EQ(none.code, 1);
  EXPECT_NE(none.out.find("not found"), std::string::npos) << none.out;
  ASSERT_EQ(train("run", 1).code, 0);
  const std::string start = "--device cpu --checkpoint " + path("run") + " --frames 2 --out ";
  EXPECT_EQ(run("df-sample", start + path("x.mp4") + " --context 3").code, 2);
  EXPECT_EQ(run("df-sample", start + path("x.mp4") + " --steps 21").code, 2);
  EXPECT_EQ(run("df-sample", start + path("x.mp4") + " --actions a.csv").code, 2);
  EXPECT_EQ(run("df-sample", start + path("x.xyz")).code, 1);
  // One bit of the weights.
  const fs::path weights = path("run/checkpoints/step_1/ema.safetensors");
  std::string bytes = read_file(weights);
  bytes[bytes.size() - 3] ^= 1;
  write_atomically(weights, bytes);
  const auto flipped = run("df-sample", start + path("x.mp4"));
  EXPECT_EQ(flipped.code, 1);
  EXPECT_NE(flipped.out.find("ema.safetensors: damaged: expected CRC-32"), std::string::npos) << flipped.out;
  EXPECT_FALSE(fs::exists(path("x.mp4")));
}

TEST_F(Programs, ScheduleShowsAndChecksMatrices) {
  const auto shown = run("df-schedule", "--schedule pyramid --tokens 3 --steps 2 --levels 10 --out " + path("m.csv"));
  ASSERT_EQ(shown.code, 0) << shown.out;
  EXPECT_NE(shown.out.find("    0  10 10 10\n    1   5 10 10\n    2   0  5 10\n    3   0  0  5\n    4   0  0  0\n"), std::string::npos) << shown.out;
  EXPECT_EQ(run("df-schedule", "--levels 10 --file " + path("m.csv")).code, 0);
  write("bad.csv", "10,10\n5,10\n7,0\n0,0\n");
  const auto bad = run("df-schedule", "--levels 10 --file " + path("bad.csv"));
  EXPECT_EQ(bad.code, 1);
  EXPECT_NE(bad.out.find("bad.csv: row 2, column 0: "), std::string::npos) << bad.out;
  ASSERT_EQ(run("df-schedule", "--schedule trapezoid --out " + path("m.png")).code, 0);
  EXPECT_EQ(read_image(path("m.png")).size(0), 3);
  EXPECT_EQ(run("df-schedule", "--out " + path("m.txt")).code, 2);
  EXPECT_EQ(run("df-schedule", "--schedule pyramids").code, 1);
}

}  // namespace df
