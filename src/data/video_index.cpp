// SPDX-License-Identifier: MIT
#include "data/video_index.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cctype>
#include <chrono>
#include <cmath>
#include <thread>

#include "core/cpu_share.hpp"
#include "data/find_files.hpp"
#include "data/picture_folder.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/file.hpp"
#include "media/video_cache.hpp"

namespace df::data {

namespace {

constexpr std::array<std::string_view, 26> kEndings{".mp4", ".avi", ".mkv",  ".mov", ".webm", ".gif",  ".m4v", ".mpg", ".mpeg",
                                                    ".ts",  ".mts", ".m2ts", ".flv", ".f4v",  ".wmv",  ".asf", ".ogv", ".3gp",
                                                    ".3g2", ".y4m", ".vob",  ".mxf", ".nut",  ".apng", ".dv",  ".rm"};
// Beside videos lie many files that are none; to open each would take long.
constexpr std::array<std::string_view, 24> kOthers{".txt", ".json", ".jsonl", ".csv",  ".tsv", ".yaml", ".yml",     ".md",
                                                   ".npy", ".npz",  ".h5",    ".hdf5", ".pkl", ".pt",   ".parquet", ".xml",
                                                   ".srt", ".vtt",  ".zip",   ".tar",  ".gz",  ".bmp",  ".py",      ".log"};

std::string ending_of(const fs::path& path) {
  std::string ending = path.extension();
  std::transform(ending.begin(), ending.end(), ending.begin(), [](unsigned char c) { return std::tolower(c); });
  return ending;
}

bool is_video(const fs::path& path) {
  const std::string ending = ending_of(path);
  if (std::find(kEndings.begin(), kEndings.end(), ending) != kEndings.end()) return true;
  if (is_picture(path) || std::find(kOthers.begin(), kOthers.end(), ending) != kOthers.end()) return false;
  return media::video_backend().is_video(path);
}

std::string name_in(const fs::path& root, const fs::path& file) { return file.lexically_relative(root).generic_string(); }

}  // namespace

std::vector<fs::path> find_videos(const fs::path& path) {
  if (path.empty()) throw Error("data.path: expected a folder of videos or a video file, got nothing");
  if (!fs::exists(path)) throw Error(fmt::format("data.path: {}: no such file or folder", path.string()));
  if (!fs::is_directory(path)) return {path};
  std::vector<fs::path> videos;
  const auto unreadable = [](const fs::path& folder) { spdlog::warn("{}: passed over: it may not be read", folder.string()); };
  for (const FoundFolder& folder : find_files(path, unreadable)) {
    const size_t before = videos.size();
    std::copy_if(folder.files.begin(), folder.files.end(), std::back_inserter(videos), is_video);
    if (videos.size() == before && std::count_if(folder.files.begin(), folder.files.end(), is_picture) >= 2) videos.push_back(folder.path);
  }
  if (videos.empty())
    throw Error(
        fmt::format("data.path: {}: expected video files ({} or others that FFmpeg knows) or folders of PNG or JPEG frames, got none",
                    path.string(), fmt::join(kEndings, ", ")));
  std::sort(videos.begin(), videos.end());
  return videos;
}

StoredVideo look_through(const fs::path& path) {
  if (!fs::is_directory(path)) {
    const auto index = media::index_of(path);
    return {path, index, index->frames()};
  }
  return {path, nullptr, open_pictures(path)->frames()};
}

LookedThrough look_through(const std::vector<fs::path>& paths) {
  using Clock = std::chrono::steady_clock;
  media::video_backend();  // where the library is missing, no file is to blame
  std::vector<StoredVideo> videos(paths.size());
  std::vector<std::string> problems(paths.size());
  std::atomic<size_t> next{0}, done{0};
  const auto start = Clock::now();
  const auto work = [&](bool reports) {
    auto said = start;
    for (size_t i = next++; i < paths.size(); i = next++) {
      try {
        videos[i] = look_through(paths[i]);
      } catch (const std::exception& error) {
        problems[i] = error.what();
      }
      ++done;
      if (reports && Clock::now() - said > std::chrono::seconds(3)) {
        said = Clock::now();
        spdlog::info("looked through {} of {} videos; the next time this is remembered", done.load(), paths.size());
      }
    }
  };
  {
    std::vector<std::jthread> others;
    const int64_t most = std::min<int64_t>({cpu_share(), 8, static_cast<int64_t>(paths.size())});
    for (int64_t i = 1; i < most; ++i) others.emplace_back(work, false);
    work(true);
  }
  LookedThrough looked;
  for (size_t i = 0; i < paths.size(); ++i) {
    if (problems[i].empty())
      looked.videos.push_back(std::move(videos[i]));
    else
      looked.problems.push_back(std::move(problems[i]));
  }
  return looked;
}

bool held_out(const std::string& name, double share) { return static_cast<double>(crc32(name)) / 4294967296.0 < share; }

std::vector<StoredVideo> split_videos(const fs::path& root, const std::vector<StoredVideo>& videos, double share, Split split) {
  std::vector<StoredVideo> kept;
  std::copy_if(videos.begin(), videos.end(), std::back_inserter(kept),
               [&](const StoredVideo& video) { return held_out(name_in(root, video.path), share) == (split == Split::validation); });
  if (share <= 0 || videos.size() < 2) return kept;
  const auto hash = [&](const StoredVideo& video) { return crc32(name_in(root, video.path)); };
  const auto [low, high] =
      std::minmax_element(videos.begin(), videos.end(), [&](const StoredVideo& a, const StoredVideo& b) { return hash(a) < hash(b); });
  if (kept.empty()) return {split == Split::validation ? *low : *high};
  // The other split was empty and has taken one of these.
  if (kept.size() == videos.size())
    std::erase_if(kept, [&, taken = split == Split::validation ? *high : *low](const StoredVideo& v) { return v.path == taken.path; });
  return kept;
}

int64_t frames_at_rate(const StoredVideo& video, double fps) {
  if (fps <= 0 || !video.index) return video.frames;
  return std::max<int64_t>(1, static_cast<int64_t>(std::ceil(video.index->duration() * fps - 1e-6)));
}

int64_t frame_at_rate(const StoredVideo& video, double fps, int64_t n) {
  if (fps <= 0 || !video.index) return n;
  const media::VideoIndex& index = *video.index;
  // Times in the file are rounded to ticks.
  const double tick = static_cast<double>(index.time(0)) + static_cast<double>(n) / fps / index.seconds_a_tick() + 0.501;
  const auto after = std::partition_point(index.shown.begin(), index.shown.end(), [&](int32_t packet) {
    return static_cast<double>(index.times[static_cast<size_t>(packet)]) <= tick;
  });
  return std::max<int64_t>(0, after - index.shown.begin() - 1);
}

std::unique_ptr<media::FrameSource> open_stored(const StoredVideo& video) {
  if (video.index) return media::video_backend().open(video.path, video.index, media::decoder_threads());
  auto pictures = open_pictures(video.path);
  if (pictures->frames() != video.frames)
    throw Error(fmt::format("{}: expected {} pictures as at the start, got {}", video.path.string(), video.frames, pictures->frames()));
  return pictures;
}

std::unique_ptr<media::FrameSource> ReaderPool::take(const StoredVideo& video) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = std::find_if(kept_.begin(), kept_.end(), [&](const auto& entry) { return entry.first == video.path; });
    if (found != kept_.end()) {
      auto source = std::move(found->second);
      kept_.erase(found);
      return source;
    }
  }
  return open_stored(video);
}

void ReaderPool::put(const StoredVideo& video, std::unique_ptr<media::FrameSource> source) {
  const std::lock_guard lock(mutex_);
  kept_.emplace_front(video.path, std::move(source));
  if (kept_.size() > static_cast<size_t>(std::max<int64_t>(4, kThreads / media::decoder_threads()))) kept_.pop_back();
}

}  // namespace df::data
