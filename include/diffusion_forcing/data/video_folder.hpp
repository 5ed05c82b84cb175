// SPDX-License-Identifier: MIT
// Clips cut from video files that OpenCV opens.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "diffusion_forcing/data/dataset.hpp"
#include "diffusion_forcing/data/file_report.hpp"

namespace df {

// The section `data` with `type: video_folder`.
struct VideoFolderConfig {
  static constexpr const char* type = "video_folder";
  std::string path;                 // a folder, searched recursively, or one file: mp4, avi, mkv, mov, webm, gif
  int64_t height = 64, width = 64;  // frames are scaled so that the shorter side fits, then cut in the middle
  int64_t frames = 36;              // of a training clip
  int64_t frame_stack = 4;          // frames a token
  int64_t frame_step = 1;           // every n-th frame
  int64_t clip_stride = 18;         // frames (after frame_step) between the starts of clips
  double held_out = 0.1;            // share of files, by hash of the name, kept for validation; a single file is cut in time instead
  double mean = 0.5, std = 0.5;     // of pixels in [0, 1]: tokens are (pixel - mean) / std
  template <class V>
  void visit(V&& v) {
    v("path", path, "folder of video files, or one file");
    v("height", height, "pixels");
    v("width", width, "pixels");
    v("frames", frames, "frames of a training clip");
    v("frame_stack", frame_stack, "frames a token");
    v("frame_step", frame_step, "take every n-th frame");
    v("clip_stride", clip_stride, "frames between the starts of clips");
    v("held_out", held_out, "share kept for validation");
    v("mean", mean, "of pixels in [0, 1]");
    v("std", std, "of pixels in [0, 1]");
  }
};

// The data set of one split. Throws df::Error naming key or file.
std::shared_ptr<const Dataset> make(const VideoFolderConfig& config, Split split);

// Decodes every frame of every file.
std::vector<FileReport> check(const VideoFolderConfig& config);

}  // namespace df
