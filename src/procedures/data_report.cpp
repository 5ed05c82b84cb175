// SPDX-License-Identifier: MIT
#include "diffusion_forcing/procedures/data_report.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <utility>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/data/loader.hpp"
#include "diffusion_forcing/data/video_tokens.hpp"
#include "diffusion_forcing/media/media.hpp"
#include "diffusion_forcing/procedures/token_video.hpp"

namespace df {

std::string data_text(const Dataset& data) {
  const DataSpec spec = data.spec();
  std::string text = fmt::format("{}\ntoken {}, {} tokens a clip, {} frames a token, condition {}\n", data.describe(),
                                 to_string(spec.token.token_shape), spec.tokens, spec.token.frame_stack, spec.token.condition_dim);
  if (spec.frame_mean.empty())
    text += fmt::format("normalised with mean {}, std {}\n", spec.mean, spec.std);
  else
    text += fmt::format("entries of a frame normalised with mean {}, std {}\n", spec.frame_mean, spec.frame_std);
  const auto start = std::chrono::steady_clock::now();
  int64_t frames = 0;
  double seconds = 0;
  for (int64_t i = 0; seconds < 0.5 && i < 1000; ++i) {
    data.get(shuffled_index(data.size(), 0, i));
    frames += spec.tokens * spec.token.frame_stack;
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  return text + fmt::format("{:.0f} frames/s, one thread, shuffled clips\n", static_cast<double>(frames) / seconds);
}

std::string data_statistics_text(const Dataset& data, int64_t clips) {
  const DataSpec spec = data.spec();
  if (!is_video(spec)) throw Error("--stats: expected a data set of videos, got " + data.describe());
  const int64_t F = spec.token.frame_stack;
  double n = 0, sum = 0, squares = 0, changes = 0, change = 0;
  for (int64_t i = 0; i < clips; ++i) {
    const Tensor x = data.get(shuffled_index(data.size(), 0, i)).x;  // [T, F * C, H, W]
    const Tensor frames = x.to(at::kDouble).mul(spec.std).add(spec.mean).reshape({x.size(0) * F, x.size(1) / F, x.size(2), x.size(3)});
    n += static_cast<double>(frames.numel());
    sum += frames.sum().item<double>();
    squares += frames.square().sum().item<double>();
    const Tensor difference = frames.diff(1, 0).abs();
    changes += static_cast<double>(difference.numel());
    change += difference.sum().item<double>();
  }
  const double mean = sum / n;
  std::string text = fmt::format(
      "statistics of {} clips, pixels in [0, 1]; for the config, where the data set has these keys:\ndata:\n  mean: {:.4f}\n  std: "
      "{:.4f}\n",
      clips, mean, std::sqrt(std::max(0.0, squares / n - mean * mean)));
  if (changes > 0) text += fmt::format("mean absolute change between frames: {:.2f} of 255\n", 255 * change / changes);
  return text;
}

FilesReport report_files(const std::vector<FileReport>& files) {
  FilesReport report;
  int64_t bad = 0, frames = 0;
  std::map<std::pair<int64_t, int64_t>, int64_t> sizes;
  for (const FileReport& file : files) {
    frames += file.frames;
    if (file.height > 0) ++sizes[{file.width, file.height}];
    if (file.problem.empty()) continue;
    ++bad;
    report.text += fmt::format("bad: {}\n", file.problem);
  }
  report.text += fmt::format("{} files, {} good, {} bad, {} frames\n", files.size(), static_cast<int64_t>(files.size()) - bad, bad, frames);
  for (const auto& [size, count] : sizes) report.text += fmt::format("  {} x {}: {} files\n", size.first, size.second, count);
  report.good = bad == 0;
  return report;
}

std::string write_clip(const std::filesystem::path& path, const Dataset& data, const ClipOptions& options) {
  const DataSpec spec = data.spec();
  if (!is_video(spec)) throw Error("--out: expected a data set of videos, got " + data.describe());
  const int64_t F = spec.token.frame_stack;
  const Batch clip = data.get(options.index, options.frames > 0 ? (options.frames + F - 1) / F : 0);
  Tensor frames = tokens_to_frames(clip.x, F, spec.mean, spec.std);  // [T, 3, H, W]
  if (options.frames > 0) frames = frames.narrow(0, 0, options.frames);
  const bool picture = path.extension() == ".png";
  const int64_t side = std::min(frames.size(2), frames.size(3)),
                scale = options.scale > 0 ? options.scale : std::max<int64_t>(1, (picture ? 128 : 256) / side);
  if (picture) {
    write_png(path, sheet(frames, 9, 2, scale));
    return fmt::format("{}: sheet of {} frames\n", path.string(), frames.size(0));
  }
  const auto writer = create_video(path, options.fps);
  for (const Tensor& frame : frames.unbind()) writer->write(enlarge(frame, scale));
  writer->close();
  return fmt::format("{}: {} frames, {}\n", path.string(), frames.size(0), writer->codec());
}

}  // namespace df
