// SPDX-License-Identifier: MIT
#include "diffusion_forcing/data/video_folder.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/require.hpp"
#include "data/clip_checks.hpp"
#include "data/video_index.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/file.hpp"

namespace df {

namespace {

// Frames [first, first + count) of a file, and the number of its first clip.
struct Segment {
  fs::path path;
  int64_t first = 0, count = 0, first_clip = 0;
};

class VideoFolder final : public Dataset {
 public:
  VideoFolder(const VideoFolderConfig& config, Split split) : config_(config), split_(split) {
    const Require require("data");
    data::check_clip(config.frames, config.frame_stack, config.mean, config.std);
    for (const auto& [value, key] : {std::pair{config.height, "height"},
                                     {config.width, "width"},
                                     {config.frame_step, "frame_step"},
                                     {config.clip_stride, "clip_stride"}})
      require.at_least(key, value, 1);
    require(config.held_out >= 0 && config.held_out < 1, "held_out", "a share in [0, 1)", config.held_out);
    require(config.held_out > 0 || split == Split::train, "held_out", "more than 0 to have a validation split", config.held_out);
    const fs::path root = config.path;
    const auto files = data::find_videos(root);
    const auto kept = files.size() == 1 ? files : data::split_files(root, files, config.held_out, split);
    int64_t longest = 0;
    for (const fs::path& file : kept) {
      const Segment segment = files.size() == 1 ? cut(whole(file)) : whole(file);
      longest = std::max(longest, segment.count);
      add(segment);
    }
    if (clips_ == 0)
      throw Error(fmt::format("{}: {} split: expected a video of at least {} frames (data.frames {}, data.frame_step {}), got {} of {}",
                              config.path, enum_name(split), span(config.frames), config.frames, config.frame_step,
                              kept.size() == 1 ? "one" : fmt::format("{} videos, the longest", kept.size()), longest));
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
      throw Error(fmt::format("{}: expected at least {} frames for a clip of {} at every {} frame, got {}", segment.path.string(),
                              span(frames), frames, config_.frame_step, segment.count));
    const int64_t wanted = (index - segment.first_clip) * config_.clip_stride * config_.frame_step;
    return read(segment.path, segment.first + std::min(wanted, segment.count - span(frames)), frames);
  }

  std::string describe() const override {
    return fmt::format("video_folder {} ({}): {} clips of {} frames, {} x {}, from {} files with {} frames{}", config_.path,
                       enum_name(split_), clips_, config_.frames, config_.width, config_.height, segments_.size(), total_,
                       too_short_ > 0 ? fmt::format("; {} files are too short", too_short_) : "");
  }

 private:
  // Frames of the file that a clip of `frames` reaches over.
  int64_t span(int64_t frames) const { return (frames - 1) * config_.frame_step + 1; }

  Segment whole(const fs::path& file) const {
    const auto source = media::backend().open_video(file);
    return {file, 0, data::count_frames(*source)};
  }

  // The end of a single file is held out: its share, but at least one clip.
  Segment cut(Segment segment) const {
    if (config_.held_out == 0) return segment;
    const auto share = std::llround(config_.held_out * static_cast<double>(segment.count));
    const int64_t border = segment.count - std::max<int64_t>(share, span(config_.frames));
    if (border < span(config_.frames))
      throw Error(
          fmt::format("{}: expected at least {} frames to hold a training and a validation clip, got {} (data.held_out 0 needs only one)",
                      segment.path.string(), 2 * span(config_.frames), segment.count));
    if (split_ == Split::train) return {segment.path, 0, border};
    return {segment.path, border, segment.count - border};
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

  Batch read(const fs::path& path, int64_t first, int64_t frames) const {
    auto source = pool_.take(path);
    std::vector<uint8_t> raw(static_cast<size_t>(source->height() * source->width() * 3));
    const Tensor clip = at::empty({frames, config_.height, config_.width, 3}, at::kByte);
    for (int64_t t = 0; t < frames; ++t) {
      source->seek(first + t * config_.frame_step);
      if (!source->read(raw.data()))
        throw Error(
            fmt::format("{}: frame {} cannot be read any more; has the file changed?", path.string(), first + t * config_.frame_step));
      media::backend().fit(raw.data(), source->height(), source->width(), clip[t].data_ptr<uint8_t>(), config_.height, config_.width);
    }
    pool_.put(path, std::move(source));
    return data::clip_of(clip, config_.frame_stack, config_.mean, config_.std);
  }

  VideoFolderConfig config_;
  Split split_;
  std::vector<Segment> segments_;
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
      const auto source = media::backend().open_video(path);
      report.height = source->height();
      report.width = source->width();
      std::vector<uint8_t> frame(static_cast<size_t>(report.height * report.width * 3));
      while (source->read(frame.data())) ++report.frames;
      const int64_t needed = (config.frames - 1) * config.frame_step + 1;
      if (report.frames < source->frames())
        report.problem =
            fmt::format("{}: expected {} frames as its container says, got {}", path.string(), source->frames(), report.frames);
      else if (report.frames < needed)
        report.problem = fmt::format("{}: expected at least {} frames for a clip, got {}", path.string(), needed, report.frames);
    } catch (const Error& error) {
      report.problem = error.what();
    }
  }
  return reports;
}

}  // namespace df
