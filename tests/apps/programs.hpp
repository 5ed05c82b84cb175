// SPDX-License-Identifier: MIT
// Runs the programs as a user would, on a network of a few thousand weights.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <string>

#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/media/media.hpp"
#include "support/support.hpp"

namespace df {

struct Outcome {
  int code = -1;
  std::string out;  // stdout and stderr
};

inline Outcome shell(const std::string& command) {
  Outcome outcome;
  FILE* pipe = ::popen(command.c_str(), "r");
  if (!pipe) return outcome;
  char block[4096];
  for (size_t got; (got = std::fread(block, 1, sizeof block, pipe)) > 0;) outcome.out.append(block, got);
  const int status = ::pclose(pipe);
  outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return outcome;
}

inline std::string program(const std::string& name) { return std::string(DF_BINARY_DIR) + "/bin/" + name; }

inline Outcome run(const std::string& name, const std::string& arguments) { return shell(program(name) + " " + arguments + " 2>&1"); }

// A network of a few thousand weights on 16 x 16 frames.
inline const std::string tiny =
    std::string(" --config ") + DF_SOURCE_DIR + "/configs/video_quick.yaml --device cpu" +
    " --set data.height=16 --set data.width=16 --set data.frames=8 --set data.frame_stack=2 --set data.clips=8" +
    " --set model.width=8 --set model.latent=4 --set model.multipliers=[1] --set model.attention=[none]" +
    " --set model.middle_attention=none --set model.heads=1 --set model.decoder_width=8 --set training.batch=2" +
    " --set training.validate_every=0 --set training.log_every=1 --set training.warmup=2 --set diffusion.levels=20" +
    " --set sampling.steps=2";

inline int64_t frames_in(const std::string& video) {
  const auto reader = open_video(video);
  Tensor frame;
  int64_t frames = 0;
  while (reader->read(frame)) ++frames;
  return frames;
}

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

}  // namespace df
