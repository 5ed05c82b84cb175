// SPDX-License-Identifier: MIT
// Which videos a folder holds, how long they are and which split they belong to; readers that threads borrow.
#pragma once

#include <cstdint>
#include <filesystem>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "diffusion_forcing/data/dataset.hpp"
#include "media/video_backend.hpp"

namespace df::data {

// A video file, or a folder of pictures (`index` is null then).
struct StoredVideo {
  std::filesystem::path path;
  std::shared_ptr<const media::VideoIndex> index;
  int64_t frames = 0;
};

// Sorted. A folder is searched as find_files() says, for files with the endings of videos, for others that FFmpeg finds moving pictures in,
// and for folders of at least two pictures and no video. A file is itself. Throws df::Error where there are none.
std::vector<std::filesystem::path> find_videos(const std::filesystem::path& path);

// Throws df::Error naming the file where it is no video.
StoredVideo look_through(const std::filesystem::path& path);

struct LookedThrough {
  std::vector<StoredVideo> videos;    // the good ones, in the order of the paths
  std::vector<std::string> problems;  // one line for each of the others
};
// Several at a time; a line in the log says how far it is where that takes more than some seconds.
LookedThrough look_through(const std::vector<std::filesystem::path>& paths);

// True where `name` (relative to the folder) is held out for validation: CRC-32 of the name below the share.
bool held_out(const std::string& name, double share);

// The videos of one split. Where the hash leaves a split empty, the one with the lowest (validation) or highest (train) hash fills it.
std::vector<StoredVideo> split_videos(const std::filesystem::path& root, const std::vector<StoredVideo>& videos, double share, Split split);

// The rate of a video's frames made even: frame n is the one that is shown n / fps seconds after the first. `fps` 0: its frames as they
// are.
int64_t frames_at_rate(const StoredVideo& video, double fps);
int64_t frame_at_rate(const StoredVideo& video, double fps, int64_t n);

std::unique_ptr<media::FrameSource> open_stored(const StoredVideo& video);

// Opened files, kept so that the next clip of the same file need not open it again. Any thread may borrow; a reader has one user at a time.
class ReaderPool {
 public:
  std::unique_ptr<media::FrameSource> take(const StoredVideo& video);
  void put(const StoredVideo& video, std::unique_ptr<media::FrameSource> source);

 private:
  static constexpr int64_t kThreads = 32;  // of the decoders of all kept readers, about
  std::mutex mutex_;
  std::list<std::pair<std::filesystem::path, std::unique_ptr<media::FrameSource>>> kept_;  // latest first
};

}  // namespace df::data
