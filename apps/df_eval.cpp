// SPDX-License-Identifier: MIT
// Measures trained models side by side: on held-out videos, or in the episodes of a task.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <optional>
#include <vector>

#include "app.hpp"
#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/evaluation/evaluate.hpp"
#include "diffusion_forcing/media/media.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/procedures/evaluate_task.hpp"
#include "diffusion_forcing/procedures/procedures.hpp"
#include "diffusion_forcing/sampling/plan_picture.hpp"
#include "diffusion_forcing/training/progress.hpp"

namespace {

namespace fs = std::filesystem;
using at::Tensor;

constexpr const char* examples = R"(
Examples:
  df-eval --checkpoint runs/video --out eval/video
  df-eval --checkpoint runs/independent runs/shared runs/clean_history --frames 1000 --sequences 8 --out eval/compare
  df-eval --checkpoint runs/video --schedule pyramid --steps 25 --slope 2 --frames 400 --out eval/pyramid
  df-eval --checkpoint runs/video --no-pictures --out eval/there      on a machine without OpenCV: no frames; more plots here:
  df-eval --report eval/there/report.json --out eval/page
  df-eval --task maze2d-large-v1 --multi --policy replanning,near_optimal,random --out eval/controllers
  df-eval --task maze2d-umaze-v1 --checkpoint runs/maze2d_umaze --out eval/umaze

For videos the folder gets index.html, a page with plots, a table, the video and what each number means. The same stands in files: table.txt (also
printed), report.json, curves.csv, curves.png, sheet.png (frames of each run) and side_by_side.mp4 (truth on the left, then the runs in order).
The column `real` is other true clips: what a perfect model would get. docs/reference/metrics.md explains each number.
For a task it gets index.html, a page of all that follows: table.txt (also printed), episodes.csv, report.json, mazes.png (the first eight
episodes of each column: what was driven, from blue to red, and the plan of the start), closed_loop.mp4 (episode 0) and, for a planner, denoising.mp4. docs/guide/planning.md explains the files.)";

struct Arguments {
  std::vector<fs::path> checkpoints, finished;
  fs::path config, out;
  std::string schedule, device = "auto", title = "Diffusion Forcing: evaluation", command;
  std::optional<int64_t> steps;
  std::optional<double> slope, fps;
  std::optional<int64_t> batch;
  std::vector<std::string> set;
  int64_t threads = 0, scale = 0;
  bool raw = false, pictures = true;
  df::EvaluationConfig evaluation;
  df::TaskEvaluation task;
};

// Frames of one sequence on disk, so that videos of any length stand side by side in constant memory. The file goes with the object.
class FrameFile {
 public:
  explicit FrameFile(fs::path path)
      : path_(std::move(path)), file_(path_, std::ios::in | std::ios::out | std::ios::binary | std::ios::trunc) {
    if (!file_) throw df::Error(path_.string() + ": cannot be written");
  }
  ~FrameFile() {
    file_.close();
    std::error_code ignored;
    fs::remove(path_, ignored);
  }
  FrameFile(const FrameFile&) = delete;
  FrameFile& operator=(const FrameFile&) = delete;
  void write(const Tensor& frames) {  // uint8 [N, 3, H, W]
    const auto bytes = frames.contiguous();
    sizes_ = bytes.sizes().slice(1).vec();
    file_.write(reinterpret_cast<const char*>(bytes.data_ptr<uint8_t>()), bytes.numel());
    if (!file_) throw df::Error(path_.string() + ": cannot be written");
  }
  void rewind() { file_.seekg(0); }
  Tensor read() {  // the next frame
    auto frame = at::empty(sizes_, at::kByte);
    file_.read(reinterpret_cast<char*>(frame.data_ptr<uint8_t>()), frame.numel());
    if (!file_) throw df::Error(path_.string() + ": cannot be read");
    return frame;
  }

 private:
  fs::path path_;
  std::fstream file_;
  df::Shape sizes_;
};
using FrameFiles = std::vector<std::unique_ptr<FrameFile>>;

// The video of all, and the sheet of a few of its frames.
void write_pictures(const fs::path& folder, FrameFiles& files, const std::vector<df::RunReport>& reports, int64_t frames, double fps,
                    int64_t scale) {
  constexpr int64_t most_shown = 14, shown_pixels = 64;
  const int64_t shown = std::min(most_shown, frames);
  std::vector<int64_t> numbers;
  std::vector<std::vector<Tensor>> picked(files.size());
  auto video = df::create_video(folder / "side_by_side.mp4", fps);
  for (auto& file : files) file->rewind();
  for (int64_t t = 0; t < frames; ++t) {
    std::vector<Tensor> row;
    for (auto& file : files) row.push_back(file->read());
    const auto next = static_cast<int64_t>(numbers.size());
    if (next < shown && t >= (shown > 1 ? next * (frames - 1) / (shown - 1) : 0)) {
      numbers.push_back(t + 1);
      for (size_t i = 0; i < row.size(); ++i) picked[i].push_back(row[i]);
    }
    const int64_t times = scale > 0 ? scale : std::max<int64_t>(1, 256 / row[0].size(1));
    video->write(df::sheet(at::stack(row), static_cast<int64_t>(row.size()), 4, times));
  }
  video->close();
  std::vector<df::FrameRow> rows;
  for (size_t i = 0; i < picked.size(); ++i) rows.push_back({reports[i].name, at::stack(picked[i])});
  df::write_png(folder / "sheet.png", df::contact_sheet(rows, numbers, std::max<int64_t>(1, shown_pixels / rows[0].frames.size(2))));
}

df::RolloutConfig sampling_of(const Arguments& arguments, const df::TrainedModel& trained) {
  df::ExperimentConfig config = trained.config;
  if (!arguments.schedule.empty()) config.sampling.schedule = arguments.schedule;
  if (arguments.steps) config.sampling.steps = *arguments.steps;
  if (arguments.slope) config.sampling.slope = *arguments.slope;
  df::validate(config);
  return config.sampling;
}

// Folder names (a file model.safetensors says nothing, its folder does), told apart by their parents where two are equal.
template <class Named>
std::string name_of(const fs::path& checkpoint, const std::vector<Named>& others) {
  auto path = fs::weakly_canonical(checkpoint);
  if (path.extension() == ".safetensors" && path.has_parent_path()) path = path.parent_path();
  std::string name = path.filename().string();
  const auto taken = [&] { return std::any_of(others.begin(), others.end(), [&](const auto& other) { return other.name == name; }); };
  while (taken() && path.has_relative_path()) {
    path = path.parent_path();
    name = (path.filename() / name).string();
  }
  return name;
}

df::RunReport evaluate_one(const Arguments& arguments, const df::TrainedModel& trained, const df::WindowSums& reference,
                           const std::string& name, FrameFile& file) {
  const auto data = df::make_dataset(trained.config.data, df::Split::validation);
  auto evaluation = arguments.evaluation;
  // History as the model knew it in training: clean for teacher forcing, else at the level at which finished tokens are shown.
  const bool clean = trained.config.training.noise == df::TrainingNoise::clean_history;
  const auto rollout = sampling_of(arguments, trained);
  evaluation.likelihood.history_level = clean ? 0 : rollout.policy.stabilization;
  spdlog::info("{}: {} schedule, {} steps", trained.weights.string(), rollout.schedule, rollout.steps);
  df::Progress progress(name, evaluation.sequences * evaluation.frames, "frames");
  const df::Subject subject{name, *trained.model, trained.diffusion, trained.spec, rollout};
  auto report = df::evaluate_model(
      subject, *data, reference, evaluation,
      [&](int64_t sequence, const Tensor& frames) {
        if (sequence == 0) file.write(frames);
      },
      [&](double fraction) {
        if (df::app::stop_flag()) throw df::Error("stopped: nothing was written");
        progress.update(std::llround(fraction * static_cast<double>(evaluation.sequences * evaluation.frames)));
      });
  progress.finish();
  report.facts = {{"weights", trained.weights.string()},
                  {"training noise", std::string(df::enum_name(trained.config.training.noise))},
                  {"schedule", rollout.schedule},
                  {"steps", std::to_string(rollout.steps)},
                  {"context", fmt::format("{} frames", evaluation.context)},
                  {"seed", std::to_string(evaluation.seed)},
                  {"data", data->describe()}};
  return report;
}

// Everything that can be wrong with a run shows here, before an hour is spent on the others.
std::vector<df::TrainedModel> load_all(const Arguments& arguments) {
  std::vector<df::TrainedModel> all;
  for (const auto& checkpoint : arguments.checkpoints) {
    all.push_back(df::load_trained(checkpoint, arguments.config, arguments.device, arguments.raw, arguments.set));
    sampling_of(arguments, all.back());
    const auto &expected = all.front().spec.token.token_shape, &got = all.back().spec.token.token_shape;
    if (got != expected)
      throw df::ConfigError(fmt::format("--checkpoint {}: expected tokens of {} as in {}, got {}", checkpoint.string(),
                                        df::to_string(expected), arguments.checkpoints.front().string(), df::to_string(got)));
  }
  return all;
}

int play(const Arguments& arguments) {
  if (arguments.threads > 0) at::set_num_threads(static_cast<int>(arguments.threads));
  df::app::catch_signals();
  auto task = arguments.task;
  task.out = arguments.out;
  task.command = arguments.command;
  task.pictures = arguments.pictures;
  task.fps = arguments.fps;
  task.stop = [] { return df::app::stop_flag().load(); };
  task.options.threads = at::get_num_threads();
  task.episodes.seed = arguments.evaluation.seed;
  if (arguments.batch) task.episodes.batch = *arguments.batch;
  if (arguments.steps) task.episodes.steps = *arguments.steps;
  const auto table = df::evaluate_task(std::move(task), [&] {
    std::vector<df::NamedModel> models;
    for (const auto& checkpoint : arguments.checkpoints)
      models.push_back(
          {name_of(checkpoint, models), df::load_trained(checkpoint, arguments.config, arguments.device, arguments.raw, arguments.set)});
    return models;
  });
  fmt::print("{}\n{}\n", table, arguments.out.string());
  return df::app::success;
}

// The page, which is also what the program says it made.
void write_page(const Arguments& arguments, const std::vector<df::RunReport>& reports, const df::PageParts& parts) {
  const auto page = arguments.out / "index.html";
  df::write_atomically(page, df::report_page(reports, arguments.title, arguments.command, parts));
  fmt::print("{}\n{}\n", df::report_table(reports), page.string());
}

int evaluate(const Arguments& arguments) {
  if (arguments.threads > 0) at::set_num_threads(static_cast<int>(arguments.threads));
  const at::NoGradGuard no_grad;
  df::app::catch_signals();
  const auto models = load_all(arguments);
  const auto data = df::make_dataset(models.front().config.data, df::Split::validation);
  spdlog::info("{}", data->describe());
  const auto& evaluation = arguments.evaluation;
  try {
    df::validate(evaluation, models.front().spec, *data);
  } catch (const df::Error& error) {
    throw df::ConfigError(error.what());
  }
  fs::create_directories(arguments.out);
  const auto reference = df::reference_frames(*data, evaluation);
  std::vector<std::pair<std::string, df::drawing::Scene>> plans;
  FrameFiles files;
  files.push_back(std::make_unique<FrameFile>(arguments.out / ".truth.raw"));
  std::vector<df::RunReport> reports{df::evaluate_truth(*data, reference, evaluation, [&](int64_t sequence, const Tensor& frames) {
    if (sequence == 0) files[0]->write(frames);
  })};
  for (size_t i = 0; i < models.size(); ++i) {
    const auto name = name_of(arguments.checkpoints[i], reports);
    files.push_back(std::make_unique<FrameFile>(arguments.out / fmt::format(".run_{}.raw", files.size())));
    reports.push_back(evaluate_one(arguments, models[i], reference, name, *files.back()));
    plans.emplace_back(name, df::draw_plan(sampling_of(arguments, models[i]), models[i].config.diffusion.levels, models[i].spec.tokens));
  }
  df::write_report(arguments.out, reports, arguments.pictures);
  if (arguments.pictures) write_pictures(arguments.out, files, reports, evaluation.frames, arguments.fps.value_or(10.0), arguments.scale);
  write_page(arguments, reports, {.frames = arguments.pictures, .curves = arguments.pictures, .plans = plans});
  return df::app::success;
}

// The runs of finished reports side by side; `real` once.
int put_together(const Arguments& arguments) {
  std::vector<df::RunReport> all;
  for (const auto& file : arguments.finished)
    for (auto& run : df::read_report(file)) {
      const bool known = std::any_of(all.begin(), all.end(), [&](const auto& other) { return other.name == run.name; });
      if (known && run.name != "real") throw df::ConfigError(fmt::format("--report {}: a second run named {}", file.string(), run.name));
      if (!known) all.push_back(std::move(run));
    }
  fs::create_directories(arguments.out);
  df::write_report(arguments.out, all, arguments.pictures);
  write_page(arguments, all, {.frames = false, .curves = arguments.pictures, .plans = {}});
  return df::app::success;
}

constexpr const char *of_videos = "Videos (without --task)", *of_tasks = "Tasks (with --task)";

void add_options(CLI::App& app, Arguments& arguments) {
  auto& e = arguments.evaluation;
  app.add_option("--checkpoint", arguments.checkpoints, "run folders, checkpoint folders or .safetensors files")->type_name("PATH");
  app.add_option("--task", arguments.task.task, "play this task's episodes instead of measuring videos: maze2d-large-v1")->type_name("ID");
  app.add_option("--out", arguments.out, "folder of the results")->type_name("DIR")->required();
  app.add_option("--config", arguments.config, "experiment of the weights [config.yaml of each run]")->type_name("FILE");
  app.add_option("--set", arguments.set, "override a key of each experiment, such as sampling.steps=20")->type_name("KEY=VALUE");
  app.add_option("--batch", arguments.batch,
                 fmt::format("sequences at once [{}]; with --task: worlds [{}]", e.batch, df::EpisodeConfig().batch));
  app.add_option("--steps", arguments.steps, "sampling steps S [of each experiment]; with --task: steps of an episode [the protocol's]");
  app.add_option("--seed", e.seed, "of noise and resamples; with --task: of the first episode")->capture_default_str();
  app.add_option("--device", arguments.device, "cpu, cuda, cuda:<index> or auto")->capture_default_str();
  app.add_option("--fps", arguments.fps, "frames a second of the video [10]; with --task: [25], real time");
  app.add_option("--threads", arguments.threads, "CPU threads, 0: all")->capture_default_str();
  app.add_flag("--raw", arguments.raw, "the weights as they are, not their average");
  app.add_flag("!--no-pictures", arguments.pictures, "tables and plots alone, where OpenCV is not installed");
  app.add_flag("--multi", arguments.task.options.random_goals, "a random goal each episode, not the task's own")->group(of_tasks);
  app.add_option("--episodes", arguments.task.episodes.episodes, "episodes of each column")->group(of_tasks)->capture_default_str();
  app.add_option("--protocol", arguments.task.options.protocol,
                 "how episodes are counted [full]: full: the task's own steps; paper: 600 at most, as Chen et al. 2024")
      ->group(of_tasks);
  app.add_option("--policy", arguments.task.policies,
                 fmt::format("controllers, with commas: none, {} [replanning,near_optimal]", df::task_policies()))
      ->group(of_tasks)
      ->delimiter(',');
  app.add_option("--report", arguments.finished, "report.json of evaluations, made with --no-pictures elsewhere, to draw side by side")
      ->group(of_videos)
      ->type_name("FILE");
  app.add_option("--sequences", e.sequences, "held-out sequences")->group(of_videos)->capture_default_str();
  app.add_option("--frames", e.frames, "frames to generate, after the context")->group(of_videos)->capture_default_str();
  app.add_option("--context", e.context, "true frames shown first")->group(of_videos)->capture_default_str();
  app.add_option("--window", e.window, "frames of a point of a curve")->group(of_videos)->capture_default_str();
  app.add_option("--replicates", e.replicates, "resamples of the 95 % intervals")->group(of_videos)->capture_default_str();
  app.add_option("--likelihood-sequences", e.likelihood_sequences, "sequences for loss by level and ELBO, 0: none")
      ->group(of_videos)
      ->capture_default_str();
  app.add_option("--likelihood-steps", e.likelihood.steps, "levels of that curve")->group(of_videos)->capture_default_str();
  app.add_option("--schedule", arguments.schedule, df::enum_choices<df::MatrixKind>() + ", or a matrix file [of each experiment]")
      ->group(of_videos)
      ->type_name("KIND");
  app.add_option("--slope", arguments.slope, "rows between the starts of two tokens [of each experiment]")->group(of_videos);
  app.add_option("--scale", arguments.scale, "enlarge frames n times, 0: to about 256 pixels")->group(of_videos)->capture_default_str();
  app.add_option("--title", arguments.title, "of the page")->group(of_videos)->capture_default_str();
}

// Options of the other kind of evaluation would be ignored, and whoever gave them misled.
void check_options(const CLI::App& app, const Arguments& arguments) {
  const bool task = !arguments.task.task.empty();
  for (const auto* option : app.get_options())
    if (option->count() > 0 && option->get_group() == (task ? of_videos : of_tasks))
      throw df::ConfigError(
          fmt::format("{}: {}; see df-eval --help", option->get_name(),
                      task ? "is for the evaluation of videos, not for --task" : "is for the episodes of a --task, which is not given"));
  if (!arguments.checkpoints.empty() && !arguments.finished.empty())
    throw df::ConfigError("--report: what was measured already, so there is nothing to do for a --checkpoint; give one of the two");
  if (!arguments.checkpoints.empty()) return;
  if (!task && arguments.finished.empty()) throw df::ConfigError("--checkpoint, --task or --report is required; see df-eval --help");
  for (const char* option : {"--config", "--set"})
    if (app.count(option) > 0)
      throw df::ConfigError(fmt::format("{}: is about the experiment of a --checkpoint, which is not given", option));
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Measure trained Diffusion Forcing models side by side: on held-out videos, or in the episodes of a task.", "df-eval");
  app.footer(examples);
  Arguments arguments;
  add_options(app, arguments);
  for (int i = 0; i < argc; ++i) arguments.command += (i ? " " : "") + (i ? std::string(argv[i]) : fs::path(argv[0]).filename().string());
  return df::app::run(app, argc, argv, [&] {
    check_options(app, arguments);
    if (!arguments.task.task.empty()) return play(arguments);
    if (!arguments.finished.empty()) return put_together(arguments);
    if (arguments.batch) arguments.evaluation.batch = *arguments.batch;
    return evaluate(arguments);
  });
}
