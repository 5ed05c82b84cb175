// SPDX-License-Identifier: MIT
#include "diffusion_forcing/data/teco_npz.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "core/require.hpp"
#include "data/clip_checks.hpp"
#include "data/find_files.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/core/npy.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/core/shape.hpp"
#include "diffusion_forcing/data/video_tokens.hpp"

namespace df {

namespace {

std::vector<fs::path> archives_in(const fs::path& folder) {
  if (!fs::is_directory(folder))
    throw Error(fmt::format("data.path: {}: no such folder; expected one with train/ and test/", folder.string()));
  std::vector<fs::path> archives;
  const auto unreadable = [](const fs::path& path) { spdlog::warn("{}: passed over: it may not be read", path.string()); };
  for (const data::FoundFolder& found : data::find_files(folder, unreadable))
    for (const fs::path& file : found.files)
      if (file.extension() == ".npz") archives.push_back(file);
  if (archives.empty()) throw Error(fmt::format("data.path: {}: expected .npz files, got none", folder.string()));
  std::sort(archives.begin(), archives.end());
  return archives;
}

Tensor read_video(const fs::path& path) {
  const Tensor video = read_npz(path, "video");  // [frames, H, W, 3]
  check_shape(video, path.string() + ": video", {-1, -1, -1, 3});
  if (video.scalar_type() != at::kByte)
    throw Error(fmt::format("{}: video: expected uint8, got {}", path.string(), c10::toString(video.scalar_type())));
  if (video.numel() == 0)
    throw Error(fmt::format("{}: video: expected frames with pixels, got shape {}", path.string(), to_string(video.sizes().vec())));
  return video;
}

Tensor read_actions(const fs::path& path, int64_t frames, int64_t kinds) {
  const Tensor actions = read_npz(path, "actions");  // [frames]
  check_shape(actions, path.string() + ": actions", {frames});
  if (!at::isIntegralType(actions.scalar_type(), false))
    throw Error(fmt::format("{}: actions: expected integers, got {}", path.string(), c10::toString(actions.scalar_type())));
  const Tensor numbers = actions.to(at::kLong);
  const Tensor wrong = numbers.lt(0).logical_or(numbers.ge(kinds)).nonzero();
  if (wrong.size(0) > 0) {
    const auto frame = wrong[0][0].item<int64_t>();
    throw Error(fmt::format("{}: actions: frame {}: expected 0 .. {} (data.action_count {}), got {}", path.string(), frame, kinds - 1,
                            kinds, numbers[frame].item<int64_t>()));
  }
  return numbers;
}

class TecoNpz final : public Dataset {
 public:
  TecoNpz(const TecoNpzConfig& config, Split split) : config_(config), split_(split) {
    data::check_clip(config.frames, config.frame_stack, config.mean, config.std);
    const Require require("data");
    require.at_least("action_count", config.action_count, 1);
    require.at_least("clips_per_file", config.clips_per_file, 1);
    if (config.path.empty()) throw Error("data.path: expected a folder with train/ and test/, got nothing");
    files_ = archives_in(fs::path(config.path) / (split == Split::train ? "train" : "test"));
    const Tensor first = read_video(files_[0]);
    height_ = first.size(1);
    width_ = first.size(2);
    get(0, 0);  // a wrong layout is met here and not hours later
  }

  DataSpec spec() const override {
    DataSpec spec;
    spec.token.token_shape = {3 * config_.frame_stack, height_, width_};
    spec.token.frame_stack = config_.frame_stack;
    spec.token.condition_dim = config_.actions ? config_.frame_stack * config_.action_count : 0;
    spec.tokens = config_.frames / config_.frame_stack;
    spec.mean = config_.mean;
    spec.std = config_.std;
    return spec;
  }
  int64_t size() const override { return static_cast<int64_t>(files_.size()) * config_.clips_per_file; }

  Batch get(int64_t index, int64_t tokens) const override {
    if (index < 0 || index >= size()) throw Error(fmt::format("{}: expected a clip in 0 .. {}, got {}", config_.path, size() - 1, index));
    const fs::path& path = files_[static_cast<size_t>(index / config_.clips_per_file)];
    const Tensor video = read_video(path);
    check_shape(video, path.string() + ": video", {-1, height_, width_, 3});
    const int64_t frames = tokens > 0 ? tokens * config_.frame_stack : config_.frames;
    const int64_t starts = video.size(0) - frames + 1;
    if (starts < 1) throw Error(fmt::format("{}: expected at least {} frames for a clip, got {}", path.string(), frames, video.size(0)));
    const auto start = static_cast<int64_t>(derive_seed(0, {static_cast<uint64_t>(index)}) % static_cast<uint64_t>(starts));
    Batch batch = data::clip_of(video.narrow(0, start, frames), config_.frame_stack, config_.mean, config_.std);
    if (config_.actions) {
      const Tensor actions = read_actions(path, video.size(0), config_.action_count).narrow(0, start, frames);
      batch.c = actions_to_condition(at::one_hot(actions, config_.action_count).to(at::kFloat), config_.frame_stack);
    }
    return batch;
  }

  std::string describe() const override {
    return fmt::format("teco_npz {} ({}): {} clips of {} frames, {} x {}, from {} files{}", config_.path, enum_name(split_), size(),
                       config_.frames, width_, height_, files_.size(), config_.actions ? ", with actions" : "");
  }

 private:
  TecoNpzConfig config_;
  Split split_;
  std::vector<fs::path> files_;
  int64_t height_ = 0, width_ = 0;
};

}  // namespace

std::shared_ptr<const Dataset> make(const TecoNpzConfig& config, Split split) { return std::make_shared<TecoNpz>(config, split); }

std::vector<FileReport> check(const TecoNpzConfig& config) {
  std::vector<FileReport> reports;
  int64_t height = 0, width = 0;  // of the first file that can be read
  for (const char* folder : {"train", "test"})
    for (const fs::path& path : archives_in(fs::path(config.path) / folder)) {
      FileReport& report = reports.emplace_back();
      report.path = path;
      try {
        const Tensor video = read_video(path);
        report.frames = video.size(0);
        report.height = video.size(1);
        report.width = video.size(2);
        if (report.frames < config.frames)
          throw Error(fmt::format("{}: expected at least {} frames for a clip, got {}", path.string(), config.frames, report.frames));
        if (height == 0) {
          height = report.height;
          width = report.width;
        }
        if (report.height != height || report.width != width)
          throw Error(fmt::format("{}: expected {} x {} pixels as in the first file, got {} x {}", path.string(), width, height,
                                  report.width, report.height));
        read_actions(path, report.frames, config.action_count);
      } catch (const Error& error) {
        report.problem = error.what();
      }
    }
  return reports;
}

}  // namespace df
