// SPDX-License-Identifier: MIT
// df-data: what is in a data set. Shows a clip, checks files, prints sizes, statistics and speed; makes D4RL's maze2d data.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>

#include "app.hpp"
#include "data_maze2d.hpp"
#include "diffusion_forcing/config/experiment.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/data/loader.hpp"
#include "diffusion_forcing/data/video_tokens.hpp"
#include "diffusion_forcing/media/media.hpp"
#include "diffusion_forcing/procedures/token_video.hpp"

namespace {

using df::Tensor;

struct Options {
  std::string task, config, data, split = "train", out, file;
  std::vector<std::string> set;
  int64_t index = 0, frames = 0, stats = 0, scale = 0, rows = 0;
  uint64_t seed = 0;
  double fps = 10;
  bool check = false;
};

// Prints what is wrong with which file; true where nothing is.
bool check_files(const df::DataConfig& config) {
  const auto checked = config->check_files();
  if (!checked) throw df::Error(fmt::format("--check: data set {} has no files", config.type()));
  const auto& reports = *checked;
  int64_t bad = 0, frames = 0;
  std::map<std::pair<int64_t, int64_t>, int64_t> sizes;
  for (const df::FileReport& report : reports) {
    frames += report.frames;
    if (report.height > 0) ++sizes[{report.width, report.height}];
    if (report.problem.empty()) continue;
    ++bad;
    fmt::print("bad: {}\n", report.problem);
  }
  fmt::print("{} files, {} good, {} bad, {} frames\n", reports.size(), reports.size() - bad, bad, frames);
  for (const auto& [size, count] : sizes) fmt::print("  {} x {}: {} files\n", size.first, size.second, count);
  return bad == 0;
}

void show(const df::Dataset& set, const Options& options) {
  const df::DataSpec spec = set.spec();
  if (!df::is_video(spec)) throw df::Error("--out: expected a data set of videos, got " + set.describe());
  const int64_t F = spec.token.frame_stack;
  const df::Batch clip = set.get(options.index, options.frames > 0 ? (options.frames + F - 1) / F : 0);
  Tensor frames = df::tokens_to_frames(clip.x, F, spec.mean, spec.std);  // [T, 3, H, W]
  if (options.frames > 0) frames = frames.narrow(0, 0, options.frames);
  const bool picture = std::filesystem::path(options.out).extension() == ".png";
  const int64_t side = std::min(frames.size(2), frames.size(3)),
                scale = options.scale > 0 ? options.scale : std::max<int64_t>(1, (picture ? 128 : 256) / side);
  if (picture) {
    df::write_png(options.out, df::sheet(frames, 9, 2, scale));
    fmt::print("{}: sheet of {} frames\n", options.out, frames.size(0));
    return;
  }
  const auto writer = df::create_video(options.out, options.fps);
  for (const Tensor& frame : frames.unbind()) writer->write(df::enlarge(frame, scale));
  writer->close();
  fmt::print("{}: {} frames, {}\n", options.out, frames.size(0), writer->codec());
}

// Over `count` clips in shuffled order; pixels in [0, 1].
void statistics(const df::Dataset& set, int64_t count) {
  const df::DataSpec spec = set.spec();
  if (!df::is_video(spec)) throw df::Error("--stats: expected a data set of videos, got " + set.describe());
  const int64_t F = spec.token.frame_stack;
  double n = 0, sum = 0, squares = 0, changes = 0, change = 0;
  for (int64_t i = 0; i < count; ++i) {
    const Tensor x = set.get(df::shuffled_index(set.size(), 0, i)).x;  // [T, F * C, H, W]
    const Tensor frames = x.to(at::kDouble).mul(spec.std).add(spec.mean).reshape({x.size(0) * F, x.size(1) / F, x.size(2), x.size(3)});
    n += static_cast<double>(frames.numel());
    sum += frames.sum().item<double>();
    squares += frames.square().sum().item<double>();
    const Tensor difference = frames.diff(1, 0).abs();
    changes += static_cast<double>(difference.numel());
    change += difference.sum().item<double>();
  }
  const double mean = sum / n;
  fmt::print(
      "statistics of {} clips, pixels in [0, 1]; for the config, where the data set has these keys:\ndata:\n  mean: {:.4f}\n  std: "
      "{:.4f}\n",
      count, mean, std::sqrt(std::max(0.0, squares / n - mean * mean)));
  if (changes > 0) fmt::print("mean absolute change between frames: {:.2f} of 255\n", 255 * change / changes);
}

void sizes(const df::Dataset& set) {
  const df::DataSpec spec = set.spec();
  fmt::print("{}\ntoken {}, {} tokens a clip, {} frames a token, condition {}\n", set.describe(), df::to_string(spec.token.token_shape),
             spec.tokens, spec.token.frame_stack, spec.token.condition_dim);
  if (spec.frame_mean.empty())
    fmt::print("normalised with mean {}, std {}\n", spec.mean, spec.std);
  else
    fmt::print("entries of a frame normalised with mean {}, std {}\n", spec.frame_mean, spec.frame_std);
  const auto start = std::chrono::steady_clock::now();
  int64_t frames = 0;
  double seconds = 0;
  for (int64_t i = 0; seconds < 0.5 && i < 1000; ++i) {
    set.get(df::shuffled_index(set.size(), 0, i));
    frames += spec.tokens * spec.token.frame_stack;
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  fmt::print("{:.0f} frames/s, one thread, shuffled clips\n", static_cast<double>(frames) / seconds);
}

void add_options(CLI::App& app, Options& o) {
  auto* source = app.add_option_group("source");
  auto* task = source->add_option("TASK", o.task, "maze2d task of D4RL, e.g. maze2d-large-v1: the maze, and its data with --out or --file");
  source->add_option("--config", o.config, "experiment file; its data set is used");
  source->add_option("--data", o.data, "kind of data set: maze_video, video_folder, teco_npz or maze2d, with its defaults");
  source->require_option(1);
  app.add_option("--set", o.set, "change a key: data.path=clips (repeatable)")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_option("--split", o.split, "train or validation")->check(CLI::IsMember({"train", "validation"}))->capture_default_str();
  app.add_option("--index", o.index, "clip to show")->capture_default_str();
  app.add_option("--frames", o.frames, "frames to show (default: a training clip)")->check(CLI::PositiveNumber);
  app.add_option("--out", o.out, "write the clip: .mp4, .gif, .npz, a folder of PNG frames, or a .png sheet; of a TASK its data: .hdf5");
  app.add_option("--fps", o.fps, "frames per second of --out")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--scale", o.scale, "enlarge --out so many times (default: to 256 pixels, frames of a sheet to 128)")
      ->check(CLI::PositiveNumber);
  app.add_flag("--check", o.check, "decode every file and list the bad ones; exit code 1 if there are any");
  app.add_option("--stats", o.stats, "mean, std and change between frames over so many clips")->check(CLI::PositiveNumber);
  app.add_option("--file", o.file, "data of the TASK to look at: an HDF5 file of D4RL's form; exit code 1 if it is not")->needs(task);
  app.add_option("--rows", o.rows, "rows of the TASK's data (default: D4RL's number)")->needs(task)->check(CLI::PositiveNumber);
  app.add_option("--seed", o.seed, "of the TASK's data")->needs(task)->capture_default_str();
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("What is in a data set: shows a clip, checks files, prints sizes, statistics and speed. Makes D4RL's maze2d data.",
               "df-data");
  app.footer(
      "Examples:\n  df-data --data maze_video --out maze.mp4 --frames 300\n  df-data --data video_folder --set data.path=clips --check\n"
      "  df-data --config configs/video.yaml --split validation --index 3 --out sheet.png\n  df-data --config my.yaml --stats 100\n"
      "  df-data maze2d-large-v1 --out large.hdf5\n  df-data maze2d-large-v1 --file maze2d-large-sparse-v1.hdf5");
  Options options;
  add_options(app, options);
  return df::app::run(app, argc, argv, [&]() -> int {
    if (!options.task.empty()) return df::app::maze2d_data(options.task, {options.out, options.file, options.rows, options.seed});
    const df::DataConfig config = (options.data.empty() ? df::load_experiment(options.config, options.set)
                                                        : df::parse_experiment("data: {type: " + options.data + "}", "--data", options.set))
                                      .data;
    if (options.check && !check_files(config)) return df::app::failed;
    if (options.check && options.out.empty() && options.stats == 0) return df::app::success;
    const auto set = df::make_dataset(config, df::enum_value<df::Split>(options.split, "--split"));
    sizes(*set);
    if (!options.out.empty()) show(*set, options);
    if (options.stats > 0) statistics(*set, options.stats);
    return df::app::success;
  });
}
