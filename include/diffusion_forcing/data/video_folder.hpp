// SPDX-License-Identifier: MIT
// Clips cut from video files that FFmpeg opens, and from folders of pictures.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "diffusion_forcing/core/enum_names.hpp"
#include "diffusion_forcing/data/dataset.hpp"
#include "diffusion_forcing/data/file_report.hpp"

namespace df {

// What becomes of a file that cannot be opened.
enum class OnBadFile { skip, stop };
template <>
struct EnumNames<OnBadFile> {
  static constexpr std::pair<std::string_view, OnBadFile> table[] = {{"skip", OnBadFile::skip}, {"stop", OnBadFile::stop}};
};

// The section `data` with `type: video_folder`.
struct VideoFolderConfig {
  static constexpr const char* type = "video_folder";
  std::string path;                 // a folder, searched recursively, or one file: whatever FFmpeg opens; folders of PNG or JPEG frames
  int64_t height = 64, width = 64;  // frames are scaled so that the shorter side fits, then cut in the middle
  int64_t frames = 36;              // of a training clip
  int64_t frame_stack = 4;          // frames a token
  double fps = 0;                   // frames a second: each is the one that is shown at that time; 0: all frames as they are stored
  int64_t frame_step = 1;           // every n-th frame
  int64_t clip_stride = 18;         // frames (after frame_step) between the starts of clips
  double held_out = 0.1;            // share of files, by hash of the name, kept for validation; a single file is cut in time instead
  OnBadFile on_bad_file = OnBadFile::skip;  // what cannot be opened is named in the log and left out, or ends the program
  double max_bad_files = 0.5;               // share of files that may be left out
  double mean = 0.5, std = 0.5;             // of pixels in [0, 1]: tokens are (pixel - mean) / std
  template <class V>
  void visit(V&& v) {
    v("path", path, "folder of video files or of folders of PNG or JPEG frames, or one file");
    v("height", height, "pixels");
    v("width", width, "pixels");
    v("frames", frames, "frames of a training clip");
    v("frame_stack", frame_stack, "frames a token");
    v("fps", fps, "frames a second, each the one shown at that time; 0: all frames as stored");
    v("frame_step", frame_step, "take every n-th frame");
    v("clip_stride", clip_stride, "frames between the starts of clips");
    v("held_out", held_out, "share kept for validation");
    v("on_bad_file", on_bad_file, "skip a file that cannot be opened, or stop");
    v("max_bad_files", max_bad_files, "share of files that may be skipped");
    v("mean", mean, "of pixels in [0, 1]");
    v("std", std, "of pixels in [0, 1]");
  }
};

// The data set of one split. Throws df::Error naming key or file.
std::shared_ptr<const Dataset> make(const VideoFolderConfig& config, Split split);

// Decodes every frame of every file.
std::vector<FileReport> check(const VideoFolderConfig& config);

}  // namespace df
