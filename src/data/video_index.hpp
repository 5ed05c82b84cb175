// SPDX-License-Identifier: MIT
// Which video files a folder holds, how long they are and which split they belong to; readers that threads borrow.
#pragma once

#include <cstdint>
#include <filesystem>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "diffusion_forcing/data/dataset.hpp"
#include "media/backend.hpp"

namespace df::data {

// Sorted; hidden files are passed over. A file is itself. Throws df::Error where there are none.
std::vector<std::filesystem::path> find_videos(const std::filesystem::path& path);

// True where `name` (relative to the folder) is held out for validation: CRC-32 of the name below the share.
bool held_out(const std::string& name, double share);

// The files of one split. Where the hash leaves a split empty, the file with the lowest (validation) or highest (train) hash fills it.
std::vector<std::filesystem::path> split_files(const std::filesystem::path& root, const std::vector<std::filesystem::path>& files,
                                               double share, Split split);

// Frames that can be read: the container's count where its last frame decodes, else all frames are counted.
int64_t count_frames(media::FrameSource& source);

// Opened files, kept so that the next clip of the same file need not open it again. Any thread may borrow; a reader has one user at a time.
class ReaderPool {
 public:
  std::unique_ptr<media::FrameSource> take(const std::filesystem::path& path);
  void put(const std::filesystem::path& path, std::unique_ptr<media::FrameSource> source);

 private:
  static constexpr size_t kKept = 32;
  std::mutex mutex_;
  std::list<std::pair<std::filesystem::path, std::unique_ptr<media::FrameSource>>> kept_;  // latest first
};

}  // namespace df::data
