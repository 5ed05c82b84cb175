// SPDX-License-Identifier: MIT
// TECO's DMLab and Minecraft clips: train/*.npz and test/*.npz with `video` uint8 [frames, H, W, 3] and `actions` int64 [frames].
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "diffusion_forcing/data/dataset.hpp"
#include "diffusion_forcing/data/file_report.hpp"

namespace df {

// The section `data` with `type: teco_npz`.
struct TecoNpzConfig {
  static constexpr const char* type = "teco_npz";
  std::string path;              // folder that holds train/ and test/ (the validation split)
  int64_t frames = 36;           // of a training clip, cut at a start that follows from the index
  int64_t frame_stack = 4;       // frames a token
  int64_t action_count = 3;      // kinds of action
  bool actions = false;          // condition on them
  int64_t clips_per_file = 8;    // distinct starts a file
  double mean = 0.5, std = 0.5;  // of pixels in [0, 1]: tokens are (pixel - mean) / std
  template <class V>
  void visit(V&& v) {
    v("path", path, "folder that holds train/ and test/");
    v("frames", frames, "frames of a training clip");
    v("frame_stack", frame_stack, "frames a token");
    v("action_count", action_count, "kinds of action");
    v("actions", actions, "condition on the actions");
    v("clips_per_file", clips_per_file, "distinct starts a file");
    v("mean", mean, "of pixels in [0, 1]");
    v("std", std, "of pixels in [0, 1]");
  }
};

// The data set of one split. Throws df::Error naming key or file.
std::shared_ptr<const Dataset> make(const TecoNpzConfig& config, Split split);

// Reads every array of every file of both splits.
std::vector<FileReport> check(const TecoNpzConfig& config);

}  // namespace df
