// SPDX-License-Identifier: MIT
// df-sample steered by actions from standard input, with frames on standard output, and what else it writes.
#include <ATen/ATen.h>

#include <string>

#include "apps/programs.hpp"
#include "diffusion_forcing/core/npy.hpp"
#include "diffusion_forcing/media/media.hpp"

namespace df {

namespace {

// uint8 [F, H, W, 3] as the bytes of raw video.
std::string raw_bytes(const Tensor& frames) {
  const Tensor bytes = frames.contiguous();
  return {reinterpret_cast<const char*>(bytes.const_data_ptr<uint8_t>()), static_cast<size_t>(bytes.numel())};
}

constexpr size_t token_bytes = 2 * 16 * 16 * 3;  // two frames of 16 x 16

}  // namespace

TEST_F(Programs, LiveActionsGiveTheFramesOfAFileOfActions) {
  ASSERT_EQ(train("run", 3, "--set data.actions=true --set training.learning_rate=0.1").code, 0);
  const std::string sample = program("df-sample") + " --device cpu --seed 3 --scale 1 --checkpoint " + path("run");
  write("actions.txt", "1\n# a comment\n0, 0, 1\n1\n\n0\n2\n1\n");
  for (const std::string schedule : {"", " --schedule pyramid --slope 1 --steps 4", " --schedule trapezoid"}) {
    const auto offline =
        shell(sample + schedule + " --frames 6 --actions " + path("actions.txt") + " --out " + path("offline.npz") + " 2>&1");
    ASSERT_EQ(offline.code, 0) << offline.out;
    const std::string expected = raw_bytes(read_npz(path("offline.npz"), "video")[0]);
    const auto live = shell(sample + schedule + " --actions - --out - <" + path("actions.txt") + " 2>" + path("log"));
    EXPECT_EQ(live.code, 0) << read_file(path("log"));
    ASSERT_EQ(live.out.size(), expected.size());
    if (schedule.empty()) {
      EXPECT_TRUE(live.out == expected);
    }
    for (size_t i = 0; i < expected.size(); ++i)  // other schedules run in other batches
      ASSERT_NEAR(static_cast<uint8_t>(live.out[i]), static_cast<uint8_t>(expected[i]), 1) << schedule << ", byte " << i;
    EXPECT_NE(read_file(path("log")).find("-video_size 16x16 -framerate 10"), std::string::npos);
    if (!schedule.empty()) continue;
    const auto fewer = shell(sample + " --frames 4 --actions - --out - <" + path("actions.txt") + " 2>/dev/null");
    EXPECT_TRUE(fewer.out == expected.substr(0, 2 * token_bytes));
  }
  // With a context, whose actions are the data set's: the first line leads to the first frame after it.
  const auto after = shell(sample + " --context 2 --actions - --out " + path("after.npz") + " <" + path("actions.txt") + " 2>&1");
  EXPECT_EQ(after.code, 0) << after.out;
  EXPECT_EQ(read_npz(path("after.npz"), "video").size(1), 2 + 6);
}

// Through two pipes: the next line is written only after the frames of the lines before have come.
TEST_F(Programs, FramesComeAsSoonAsTheirActions) {
  ASSERT_EQ(train("run", 1, "--set data.actions=true").code, 0);
  write("actions.txt", "1\n2\n0\n");
  const std::string sample = program("df-sample") + " --device cpu --scale 1 --checkpoint " + path("run") + " --actions - --out -";
  const auto whole = shell(sample + " <" + path("actions.txt") + " 2>/dev/null");
  ASSERT_EQ(whole.out.size(), 2 * token_bytes);
  const std::string take = " && head -c " + std::to_string(token_bytes) + " >";
  const auto steered = shell("cd " + path("") + " && mkfifo in && timeout 120 " + sample + " <in 2>log | { exec 3>in && echo 1 >&3" + take +
                             "first && echo 2 >&3 && echo 0 >&3" + take + "second && exec 3>&- && cat >rest; }");
  EXPECT_EQ(steered.code, 0) << read_file(path("log"));
  EXPECT_TRUE(read_file(path("first")) + read_file(path("second")) == whole.out) << read_file(path("log"));
  EXPECT_EQ(read_file(path("rest")), "");
}

TEST_F(Programs, LivePipesThatBreakAreNamed) {
  ASSERT_EQ(train("run", 1, "--set data.actions=true").code, 0);
  const std::string sample = program("df-sample") + " --device cpu --scale 2 --checkpoint " + path("run");
  const auto error_of = [&](const std::string& actions) {
    write("actions.txt", actions);
    const auto outcome = shell(sample + " --actions - --out " + path("x.npz") + " <" + path("actions.txt") + " 2>&1");
    EXPECT_EQ(outcome.code, 1) << outcome.out;
    return outcome.out;
  };
  EXPECT_NE(error_of("1\nleft\n").find("df-sample: standard input:2: expected numbers, got 'left'"), std::string::npos);
  EXPECT_NE(error_of("1\n\n3\n").find("df-sample: standard input:3: expected actions 0 to 2, got 3"), std::string::npos);
  EXPECT_NE(error_of("1\n1,0\n").find("df-sample: standard input:2: expected 3 columns or one, got 2"), std::string::npos);
  EXPECT_NE(error_of("").find("no frames were written"), std::string::npos);
  EXPECT_FALSE(fs::exists(path("x.npz")));
  // A reader that goes away.
  ASSERT_EQ(train("plain", 1).code, 0);
  shell("{ " + program("df-sample") + " --device cpu --scale 2 --checkpoint " + path("plain") + " --frames 300 --out - 2>" + path("log") +
        "; echo $? >" + path("code") + "; } | head -c 10 >/dev/null");
  EXPECT_EQ(read_file(path("code")), "1\n");
  const std::string log = read_file(path("log"));
  EXPECT_NE(log.find("df-sample: standard output: frame "), std::string::npos) << log;
  EXPECT_NE(log.find(" cannot be written: Broken pipe"), std::string::npos) << log;
}

TEST_F(Programs, SampleTakesKeysSheetsAndMatrices) {
  ASSERT_EQ(train("run", 1).code, 0);
  const std::string start = "--device cpu --frames 7 --sequences 2 --checkpoint " + path("run");
  const auto sample = [&](const std::string& more) {
    const auto outcome = run("df-sample", start + " " + more);
    EXPECT_EQ(outcome.code, 0) << outcome.out;
    return outcome.out;
  };
  sample("--steps 1 --out " + path("option.npz"));
  sample("--set sampling.steps=1 --sheet " + path("sheet.png") + " --scale 1 --out " + path("set.npz"));
  EXPECT_EQ(read_file(path("option.npz")), read_file(path("set.npz")));
  EXPECT_EQ(run("df-sample", start + " --set sampling.stepz=1 --out " + path("x.npz")).code, 2);
  EXPECT_EQ(run("df-sample", start).code, 2);
  // Seven frames of two sequences.
  const Tensor sheet = read_image(path("sheet.png")), video = read_npz(path("set.npz"), "video").permute({0, 1, 4, 2, 3});
  EXPECT_EQ(sheet.sizes(), (at::IntArrayRef{3, 2 * 16 + 2, 7 * 16 + 6 * 2}));
  EXPECT_TRUE(at::equal(sheet.slice(1, 18, 34).slice(2, 18, 34), video[1][1]));
  sample("--out " + path("only.png"));
  EXPECT_GT(read_image(path("only.png")).size(2), sheet.size(2));
  // A matrix of two tokens is taken again for the next ones, and has its own steps.
  write("m.csv", "20,20\n10,20\n0,10\n0,0\n");
  const std::string log = sample("--steps 5 --schedule " + path("m.csv") + " --out " + path("matrix.npz"));
  EXPECT_NE(log.find("3 rows of moves over 2 tokens, again for every next 2"), std::string::npos) << log;
  EXPECT_NE(log.find("--steps and --slope have no effect"), std::string::npos) << log;
  EXPECT_NE(sample("--set sampling.stabilization=3 --out " + path("x.npz")).find("sampling.stabilization has no effect"),
            std::string::npos);
}

}  // namespace df
