// SPDX-License-Identifier: MIT
// df-data: what is in a data set. Shows a clip, checks files, prints sizes, statistics and speed; makes D4RL's maze2d data.
#include <fmt/format.h>

#include <chrono>
#include <utility>

#include "app.hpp"
#include "diffusion_forcing/config/experiment.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/maze2d/maze2d_generate.hpp"
#include "diffusion_forcing/maze2d/maze2d_report.hpp"
#include "diffusion_forcing/procedures/data_report.hpp"

namespace {

struct Options {
  std::string task, config, data, split = "train", out, file;
  std::vector<std::string> set;
  int64_t stats = 0, rows = 0;
  uint64_t seed = 0;
  df::ClipOptions clip;
  bool check = false;
};

bool print(const df::Maze2dDataReport& report) {
  fmt::print("{}", report.text);
  return report.good;
}

// Looks at data of a maze's task, and makes some.
int maze2d_data(const Options& options) {
  const df::Maze2dTask& task = df::maze2d_task(options.task);
  fmt::print("{}", df::maze_text(task));
  bool good = true;
  if (!options.file.empty()) good = print(df::report_maze2d(df::read_d4rl(options.file, {.observation = 4, .action = 2}), task));
  if (options.out.empty()) return good ? df::app::success : df::app::failed;
  auto seconds = [start = std::chrono::steady_clock::now()]() mutable {
    const auto now = std::chrono::steady_clock::now();
    return std::chrono::duration<double>(now - std::exchange(start, now)).count();
  };
  const df::OfflineData data = df::generate_maze2d(task, {.rows = options.rows, .seed = options.seed});
  const double made = seconds();
  df::write_d4rl(options.out, data);
  fmt::print("{}: made in {:.1f} s ({:.0f} rows/s), written in {:.1f} s\n", options.out, made, static_cast<double>(data.rows()) / made,
             seconds());
  return print(df::report_maze2d(data, task)) && good ? df::app::success : df::app::failed;
}

int look(const Options& options) {
  const df::DataConfig config = (options.data.empty() ? df::load_experiment(options.config, options.set)
                                                      : df::parse_experiment("data: {type: " + options.data + "}", "--data", options.set))
                                    .data;
  if (options.check) {
    const auto files = config->check_files();
    if (!files) throw df::Error(fmt::format("--check: data set {} has no files", config.type()));
    const df::FilesReport report = df::report_files(*files);
    fmt::print("{}", report.text);
    if (!report.good) return df::app::failed;
    if (options.out.empty() && options.stats == 0) return df::app::success;
  }
  const auto set = df::make_dataset(config, df::enum_value<df::Split>(options.split, "--split"));
  fmt::print("{}", df::data_text(*set));
  if (!options.out.empty()) fmt::print("{}", df::write_clip(options.out, *set, options.clip));
  if (options.stats > 0) fmt::print("{}", df::data_statistics_text(*set, options.stats));
  return df::app::success;
}

std::string kinds() {
  std::string all;
  for (const auto& name : df::builtin_types().data.names()) all += (all.empty() ? "" : ", ") + name;
  return all;
}

void add_options(CLI::App& app, Options& o) {
  auto* source = app.add_option_group("source");
  auto* task = source->add_option("TASK", o.task, "maze2d task of D4RL, e.g. maze2d-large-v1: the maze, and its data with --out or --file");
  source->add_option("--config", o.config, "experiment file; its data set is used");
  source->add_option("--data", o.data, "kind of data set, with its defaults: " + kinds());
  source->require_option(1);
  app.add_option("--set", o.set, "change a key: data.path=clips (repeatable)")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_option("--split", o.split, "train or validation")->check(CLI::IsMember({"train", "validation"}))->capture_default_str();
  app.add_option("--index", o.clip.index, "clip to show")->capture_default_str();
  app.add_option("--frames", o.clip.frames, "frames to show (default: a training clip)")->check(CLI::PositiveNumber);
  app.add_option("--out", o.out, "write the clip: .mp4, .gif, .npz, a folder of PNG frames, or a .png sheet; of a TASK its data: .hdf5");
  app.add_option("--fps", o.clip.fps, "frames per second of --out")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--scale", o.clip.scale, "enlarge --out so many times (default: to 256 pixels, frames of a sheet to 128)")
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
  return df::app::run(app, argc, argv, [&] { return options.task.empty() ? look(options) : maze2d_data(options); });
}
