// SPDX-License-Identifier: MIT
// What is in a data set, as text and pictures for people: df-data's work.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "diffusion_forcing/data/dataset.hpp"
#include "diffusion_forcing/data/file_report.hpp"

namespace df {

// What the data set says of itself, its tokens and normalisation, and how fast clips are made (measured for half a second).
std::string data_text(const Dataset& data);

// Mean and deviation of pixels in [0, 1] over `clips` clips in shuffled order, as keys for an experiment file, and the mean change between
// frames. Throws df::Error where the data set is no video.
std::string data_statistics_text(const Dataset& data, int64_t clips);

// Bad files by name, then how many there are and of which sizes.
struct FilesReport {
  std::string text;
  bool good = true;
};
// Counts the good and the bad files.
FilesReport report_files(const std::vector<FileReport>& files);

// Which clip is shown, and how.
struct ClipOptions {
  int64_t index = 0;   // of the clip
  int64_t frames = 0;  // 0: those of a training clip
  double fps = 10.0;
  int64_t scale = 0;  // enlarge so many times; 0: to 256 pixels, frames of a sheet to 128
};
// Writes a clip: .mp4, .gif, .npz, a folder of PNG frames, or a .png sheet. Returns a line about what was written. Throws df::Error where
// the data set is no video.
std::string write_clip(const std::filesystem::path& path, const Dataset& data, const ClipOptions& options);

}  // namespace df
