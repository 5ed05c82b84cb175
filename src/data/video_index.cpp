// SPDX-License-Identifier: MIT
#include "data/video_index.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/file.hpp"

namespace df::data {

namespace {

constexpr std::array<std::string_view, 6> kEndings{".mp4", ".avi", ".mkv", ".mov", ".webm", ".gif"};

bool is_video(const fs::path& path) {
  std::string ending = path.extension();
  std::transform(ending.begin(), ending.end(), ending.begin(), [](unsigned char c) { return std::tolower(c); });
  return path.filename().string()[0] != '.' && std::find(kEndings.begin(), kEndings.end(), ending) != kEndings.end();
}

uint32_t hash(const fs::path& root, const fs::path& file) { return crc32(file.lexically_relative(root).generic_string()); }

}  // namespace

std::vector<fs::path> find_videos(const fs::path& path) {
  if (path.empty()) throw Error("data.path: expected a folder of videos or a video file, got nothing");
  if (!fs::exists(path)) throw Error(fmt::format("data.path: {}: no such file or folder", path.string()));
  if (!fs::is_directory(path)) return {path};
  std::vector<fs::path> files;
  std::error_code failed;
  for (fs::recursive_directory_iterator entry(path, failed), end; !failed && entry != end; entry.increment(failed))
    if (entry->is_regular_file() && is_video(entry->path())) files.push_back(entry->path());
  if (failed) throw Error(fmt::format("data.path: {}: cannot be searched: {}", path.string(), failed.message()));
  if (files.empty())
    throw Error(fmt::format("data.path: {}: expected video files ({}), got none", path.string(), fmt::join(kEndings, ", ")));
  std::sort(files.begin(), files.end());
  return files;
}

bool held_out(const std::string& name, double share) { return static_cast<double>(crc32(name)) / 4294967296.0 < share; }

std::vector<fs::path> split_files(const fs::path& root, const std::vector<fs::path>& files, double share, Split split) {
  const auto wanted = [&](const fs::path& file) {
    return held_out(file.lexically_relative(root).generic_string(), share) == (split == Split::validation);
  };
  std::vector<fs::path> kept;
  std::copy_if(files.begin(), files.end(), std::back_inserter(kept), wanted);
  if (share <= 0 || files.size() < 2) return kept;
  const auto [low, high] =
      std::minmax_element(files.begin(), files.end(), [&](const fs::path& a, const fs::path& b) { return hash(root, a) < hash(root, b); });
  if (kept.empty()) return {split == Split::validation ? *low : *high};
  // The other split was empty and has taken one of these.
  if (kept.size() == files.size()) kept.erase(std::find(kept.begin(), kept.end(), split == Split::validation ? *high : *low));
  return kept;
}

int64_t count_frames(media::FrameSource& source) {
  std::vector<uint8_t> frame(static_cast<size_t>(source.height() * source.width() * 3));
  try {
    if (source.frames() > 0) {
      source.seek(source.frames() - 1);
      if (source.read(frame.data())) return source.frames();
    }
  } catch (const Error&) {  // the file is shorter than its container says: counted below
  }
  source.seek(0);
  int64_t count = 0;
  while (source.read(frame.data())) ++count;
  return count;
}

std::unique_ptr<media::FrameSource> ReaderPool::take(const fs::path& path) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = std::find_if(kept_.begin(), kept_.end(), [&](const auto& entry) { return entry.first == path; });
    if (found != kept_.end()) {
      auto source = std::move(found->second);
      kept_.erase(found);
      return source;
    }
  }
  return media::backend().open_video(path);
}

void ReaderPool::put(const fs::path& path, std::unique_ptr<media::FrameSource> source) {
  const std::lock_guard lock(mutex_);
  kept_.emplace_front(path, std::move(source));
  if (kept_.size() > kKept) kept_.pop_back();
}

}  // namespace df::data
