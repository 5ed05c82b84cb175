// SPDX-License-Identifier: MIT
// df-sample from end to end.
#include <ATen/ATen.h>

#include <filesystem>

#include "apps/programs.hpp"
#include "diffusion_forcing/core/npy.hpp"
#include "diffusion_forcing/media/media.hpp"

namespace df {

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
  sample("bf16.npz", "--sequences 2 --seed 3 --precision bf16");
  EXPECT_FALSE(at::equal(a, read_npz(path("bf16.npz"), "video")));
  sample("d.npz", "--context 2 --truth --schedule pyramid");
  const auto d = read_npz(path("d.npz"));
  EXPECT_EQ(d.at("video").sizes(), (at::IntArrayRef{1, 9, 16, 16, 3}));
  EXPECT_TRUE(test::identical(d.at("video").narrow(1, 0, 2), d.at("truth").narrow(1, 0, 2)));
  sample("e.mp4", "");
  EXPECT_EQ(frames_in(path("e.mp4")), 7);
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
  const auto half = run("df-sample", start + path("x.mp4") + " --precision fp16");
  EXPECT_EQ(half.code, 1);
  EXPECT_NE(half.out.find("--precision: unknown value 'fp16'; expected one of: fp32, bf16"), std::string::npos) << half.out;
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

TEST_F(Programs, SamplesAreWrittenAsTheirNameSays) {
  ASSERT_EQ(train("run", 1).code, 0);
  const std::string start = "--device cpu --checkpoint " + path("run") + " --frames 5 --scale 1 --out ";
  ASSERT_EQ(run("df-sample", start + path("x.npz")).code, 0);
  const Tensor truth = read_npz(path("x.npz"), "video")[0].permute({0, 3, 1, 2});  // [5, 3, 16, 16]
  ASSERT_EQ(run("df-sample", start + path("frames/")).code, 0);
  for (int t = 0; t < 5; ++t)
    EXPECT_TRUE(test::identical(read_image(path("frames/00000" + std::to_string(t) + ".png")), truth[t].contiguous())) << t;
  ASSERT_EQ(run("df-sample", start + path("x.gif")).code, 0);
  EXPECT_EQ(read_file(path("x.gif")).substr(0, 6), "GIF89a");
  ASSERT_EQ(run("df-sample", start + path("raw.npz") + " --raw").code, 0);
  EXPECT_FALSE(at::equal(read_npz(path("raw.npz"), "video")[0], read_npz(path("x.npz"), "video")[0]));
  ASSERT_EQ(run("df-sample", start + path("weights.npz") + " --config " + path("run/config.yaml") + " --checkpoint " +
                                 path("run/checkpoints/step_1/ema.safetensors"))
                .code,
            2);  // --checkpoint twice
  ASSERT_EQ(run("df-sample", "--device cpu --frames 5 --config " + path("run/config.yaml") + " --checkpoint " +
                                 path("run/checkpoints/step_1/ema.safetensors") + " --out " + path("file.npz"))
                .code,
            0);
  EXPECT_TRUE(test::identical(read_npz(path("file.npz"), "video"), read_npz(path("x.npz"), "video")));
}

TEST_F(Programs, ActionsSteerAModelThatKnowsThem) {
  ASSERT_EQ(train("run", 3, "--set data.actions=true --set training.learning_rate=0.1").code, 0);
  const std::string start = "--device cpu --checkpoint " + path("run") + " --frames 6 --out ";
  write("left.csv", "1\n1\n1\n1\n1\n1\n");
  write("walk.csv", "# one row a frame\n1,0,0\n1,0,0\n1,0,0\n1,0,0\n1,0,0\n1,0,0\n");
  const auto sample = [&](const std::string& actions, const std::string& out) {
    const auto outcome = run("df-sample", start + path(out) + (actions.empty() ? "" : " --actions " + path(actions)));
    EXPECT_EQ(outcome.code, 0) << outcome.out;
    return read_npz(path(out), "video");
  };
  const Tensor left = sample("left.csv", "left.npz"), walk = sample("walk.csv", "walk.npz");
  EXPECT_FALSE(at::equal(left, walk));
  EXPECT_EQ(sample("", "data.npz").sizes(), left.sizes());
  write("short.csv", "1\n1\n");
  write("wrong.csv", "1\n1\n3\n1\n1\n1\n");
  const auto short_file = run("df-sample", start + path("x.npz") + " --actions " + path("short.csv"));
  EXPECT_EQ(short_file.code, 1);
  EXPECT_NE(short_file.out.find("short.csv: expected at least 6 rows, one a frame, got 2"), std::string::npos) << short_file.out;
  EXPECT_NE(run("df-sample", start + path("x.npz") + " --actions " + path("wrong.csv")).out.find("expected actions 0 to 2"),
            std::string::npos);
}

}  // namespace df
