// SPDX-License-Identifier: MIT
// Videos from a trained model: to a file, or to somebody who watches and steers them. What df-sample does.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include "diffusion_forcing/sampling/rollout_config.hpp"

namespace df {

// What is sampled, and where it goes. Fields that are not given are the experiment's.
struct SampleVideoOptions {
  std::filesystem::path checkpoint, config;  // as load_trained() takes them
  std::filesystem::path out;                 // as TokenVideo takes it; "-": raw frames on standard output; empty: none
  std::filesystem::path sheet;               // a PNG of some frames of each sequence; empty: none
  std::vector<std::string> overrides;        // of the experiment: "sampling.steps=20"
  bool raw = false;                          // the weights as they are, not their average
  std::string device = "auto";
  // In place of the experiment's, where given.
  std::optional<std::string> schedule, precision;
  std::optional<int64_t> steps, cpu_workers;
  std::optional<double> slope;
  std::optional<int64_t> frames;  // to generate, after the context; none: 100, or as many as `actions` leads to
  int64_t context = 0;            // true frames shown first
  int64_t sequences = 1;
  uint64_t seed = 0;              // of the noise and of the choice of contexts
  std::filesystem::path actions;  // a file with one row a frame; "-": `live_actions`, a line as soon as it comes; empty: the data set's
  std::istream* live_actions = nullptr;
  double fps = 10.0;
  int64_t scale = 0;           // enlarge frames n times, 0: to about 256 pixels
  bool truth = false;          // show the true video beside the sampled one
  std::function<bool()> stop;  // asked after each model call: whether to give up
};

// What was written, and what it cost.
struct SampledVideo {
  int64_t frames = 0;  // written, the context's among them
  std::string codec;
  RolloutStats stats;
};

// With live actions a line is the action taken at the newest frame, and leads to the next one: a frame comes out as soon as the schedule
// lets it (RolloutStream::lookahead), and the video ends after `frames` or with the last line. The same seed and actions give the frames
// that a file of actions gives. Throws ConfigError for options that do not fit together, df::Error for what fails later.
SampledVideo sample_video(const SampleVideoOptions& options);

}  // namespace df
