// SPDX-License-Identifier: MIT
#include "diffusion_forcing/data/video_folder.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/require.hpp"
#include "data/clip_checks.hpp"
#include "data/video_index.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/file.hpp"
#include "media/backend.hpp"

namespace df {

namespace {

// Frames [first, first + count) of a video at the wanted rate, and the number of its first clip.
struct Segment {
  data::StoredVideo video;
  int64_t first = 0, count = 0, first_clip = 0;
};

class VideoFolder final : public Dataset {
 public:
  VideoFolder(const VideoFolderConfig& config, Split split) : config_(config), split_(split) {
    check_config();
    const auto videos = good_videos();
    const auto kept = videos.size() == 1 ? videos : data::split_videos(config.path, videos, config.held_out, split);
    int64_t longest = 0;
    for (const data::StoredVideo& video : kept) {
      const Segment segment = videos.size() == 1 ? cut(whole(video)) : whole(video);
      longest = std::max(longest, segment.count);
      add(segment);
    }
    if (clips_ == 0)
      throw Error(fmt::format("{}: {} split: expected a video of at least {} frames (data.frames {}, data.frame_step {}), got {} of {}{}",
                              config.path, enum_name(split), span(config.frames), config.frames, config.frame_step,
                              kept.size() == 1 ? "one" : fmt::format("{} videos, the longest", kept.size()), longest,
                              problems_.empty() ? "" : "; skipped: " + problems_[0]));
  }

  DataSpec spec() const override {
    DataSpec spec;
    spec.token.token_shape = {3 * config_.frame_stack, config_.height, config_.width};
    spec.token.frame_stack = config_.frame_stack;
    spec.tokens = config_.frames / config_.frame_stack;
    spec.mean = config_.mean;
    spec.std = config_.std;
    return spec;
  }
  int64_t size() const override { return clips_; }

  // A longer clip than the end of the file allows starts earlier.
  Batch get(int64_t index, int64_t tokens) const override {
    if (index < 0 || index >= clips_) throw Error(fmt::format("{}: expected a clip in 0 .. {}, got {}", config_.path, clips_ - 1, index));
    const auto after =
        std::upper_bound(segments_.begin(), segments_.end(), index, [](int64_t i, const Segment& s) { return i < s.first_clip; });
    const Segment& segment = *std::prev(after);
    const int64_t frames = tokens > 0 ? tokens * config_.frame_stack : config_.frames;
    if (span(frames) > segment.count)
      throw Error(fmt::format("{}: expected at least {} frames for a clip of {} at every {} frame, got {}", segment.video.path.string(),
                              span(frames), frames, config_.frame_step, segment.count));
    const int64_t wanted = (index - segment.first_clip) * config_.clip_stride * config_.frame_step;
    return read(segment.video, segment.first + std::min(wanted, segment.count - span(frames)), frames);
  }

  std::string describe() const override {
    return fmt::format("video_folder {} ({}): {} clips of {} frames{}, {} x {}, from {} files with {} frames{}{}", config_.path,
                       enum_name(split_), clips_, config_.frames, config_.fps > 0 ? fmt::format(" at {} frames/s", config_.fps) : "",
                       config_.width, config_.height, segments_.size(), total_,
                       too_short_ > 0 ? fmt::format("; {} files are too short", too_short_) : "",
                       problems_.empty() ? "" : fmt::format("; {} bad files are skipped", problems_.size()));
  }

 private:
  // Frames of the file that a clip of `frames` reaches over.
  int64_t span(int64_t frames) const { return (frames - 1) * config_.frame_step + 1; }

  void check_config() const {
    const Require require("data");
    data::check_clip(config_.frames, config_.frame_stack, config_.mean, config_.std);
    for (const auto& [value, key] : {std::pair{config_.height, "height"},
                                     {config_.width, "width"},
                                     {config_.frame_step, "frame_step"},
                                     {config_.clip_stride, "clip_stride"}})
      require.at_least(key, value, 1);
    require(config_.fps >= 0 && config_.fps <= 1000, "fps", "frames a second up to 1000, or 0 for all frames", config_.fps);
    require(config_.max_bad_files >= 0 && config_.max_bad_files <= 1, "max_bad_files", "a share in [0, 1]", config_.max_bad_files);
    require(config_.held_out >= 0 && config_.held_out < 1, "held_out", "a share in [0, 1)", config_.held_out);
    require(config_.held_out > 0 || split_ == Split::train, "held_out", "more than 0 to have a validation split", config_.held_out);
  }

  // Bad ones are named in the log, once: with the training split.
  std::vector<data::StoredVideo> good_videos() {
    const auto files = data::find_videos(config_.path);
    auto looked = data::look_through(files);
    problems_ = std::move(looked.problems);
    if (problems_.empty()) return looked.videos;
    if (config_.on_bad_file == OnBadFile::stop || looked.videos.empty()) throw Error(problems_[0]);
    if (static_cast<double>(problems_.size()) > config_.max_bad_files * static_cast<double>(files.size()))
      throw Error(fmt::format("{}: expected at most {} of the files to be bad (data.max_bad_files), got {} of {}, the first: {}",
                              config_.path, config_.max_bad_files, problems_.size(), files.size(), problems_[0]));
    if (split_ == Split::train)
      for (const std::string& problem : problems_) spdlog::warn("skipped: {}", problem);
    return looked.videos;
  }

  Segment whole(const data::StoredVideo& video) const { return {video, 0, data::frames_at_rate(video, config_.fps)}; }

  // The end of a single file is held out: its share, but at least one clip.
  Segment cut(Segment segment) const {
    if (config_.held_out == 0) return segment;
    const auto share = std::llround(config_.held_out * static_cast<double>(segment.count));
    const int64_t border = segment.count - std::max<int64_t>(share, span(config_.frames));
    if (border < span(config_.frames))
      throw Error(
          fmt::format("{}: expected at least {} frames to hold a training and a validation clip, got {} (data.held_out 0 needs only one)",
                      segment.video.path.string(), 2 * span(config_.frames), segment.count));
    if (split_ == Split::train) return {segment.video, 0, border};
    return {segment.video, border, segment.count - border};
  }

  void add(Segment segment) {
    if (segment.count < span(config_.frames)) {
      ++too_short_;
      return;
    }
    segment.first_clip = clips_;
    clips_ += (segment.count - span(config_.frames)) / (config_.clip_stride * config_.frame_step) + 1;
    total_ += segment.count;
    segments_.push_back(std::move(segment));
  }

  Batch read(const data::StoredVideo& video, int64_t first, int64_t frames) const {
    auto source = pool_.take(video);
    std::vector<uint8_t> raw(static_cast<size_t>(source->height() * source->width() * 3));
    const Tensor clip = at::empty({frames, config_.height, config_.width, 3}, at::kByte);
    int64_t last = -1;
    for (int64_t t = 0; t < frames; ++t) {
      const int64_t frame = data::frame_at_rate(video, config_.fps, first + t * config_.frame_step);
      if (frame == last) {  // shown for longer
        clip[t].copy_(clip[t - 1]);
        continue;
      }
      last = frame;
      source->read(frame, raw.data());
      media::backend().fit(raw.data(), source->height(), source->width(), clip[t].data_ptr<uint8_t>(), config_.height, config_.width);
    }
    pool_.put(video, std::move(source));
    return data::clip_of(clip, config_.frame_stack, config_.mean, config_.std);
  }

  VideoFolderConfig config_;
  Split split_;
  std::vector<Segment> segments_;
  std::vector<std::string> problems_;  // of the files that are skipped
  int64_t clips_ = 0, total_ = 0, too_short_ = 0;
  mutable data::ReaderPool pool_;
};

}  // namespace

std::shared_ptr<const Dataset> make(const VideoFolderConfig& config, Split split) { return std::make_shared<VideoFolder>(config, split); }

std::vector<FileReport> check(const VideoFolderConfig& config) {
  std::vector<FileReport> reports;
  for (const fs::path& path : data::find_videos(config.path)) {
    FileReport& report = reports.emplace_back();
    report.path = path;
    try {
      const data::StoredVideo video = data::look_through(path);
      const auto source = data::open_stored(video);
      report.frames = video.frames;
      report.height = source->height();
      report.width = source->width();
      std::vector<uint8_t> frame(static_cast<size_t>(report.height * report.width * 3));
      int64_t missing = 0;
      for (int64_t f = 0; f < video.frames; ++f) missing += source->read(f, frame.data()) ? 0 : 1;
      const int64_t needed = (config.frames - 1) * config.frame_step + 1, got = data::frames_at_rate(video, config.fps);
      if (missing > 0)
        report.problem = fmt::format("{}: expected {} frames, got {} that cannot be decoded", path.string(), video.frames, missing);
      else if (got < needed)
        report.problem = fmt::format("{}: expected at least {} frames for a clip, got {}", path.string(), needed, got);
    } catch (const Error& error) {
      report.problem = error.what();
    }
  }
  return reports;
}

}  // namespace df
