// SPDX-License-Identifier: MIT
// Rolls out videos from a trained model.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <sstream>

#include "app.hpp"
#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/core/npy.hpp"
#include "diffusion_forcing/core/precision.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/data/video_tokens.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/procedures/procedures.hpp"
#include "diffusion_forcing/procedures/token_video.hpp"
#include "diffusion_forcing/training/progress.hpp"

namespace {

namespace fs = std::filesystem;
using at::Tensor;

constexpr const char* examples = R"(
Examples:
  df-sample --checkpoint runs/video_quick --frames 1000 --out long.mp4
  df-sample --checkpoint runs/video --schedule pyramid --steps 25 --slope 2 --sequences 4 --out four.gif
  df-sample --checkpoint runs/video --context 16 --truth --sequences 3 --out beside_the_truth.mp4
  df-sample --checkpoint runs/video/checkpoints/step_4000 --raw --out frames/      weights as they are, PNG frames

The name's ending says how it is written: .mp4, .gif, .npz (video uint8 [sequences, frames, height, width, 3]), or a folder of PNG frames.
With --truth the true video stands on the left, the sampled one on the right.)";

struct Arguments {
  fs::path checkpoint, config, actions, out;
  std::string schedule, precision, device = "auto";
  std::optional<int64_t> steps, cpu_workers;
  std::optional<double> slope;
  int64_t frames = 100, context = 0, sequences = 1, scale = 0, threads = 0;
  uint64_t seed = 0;
  double fps = 10.0;
  bool truth = false, raw = false;
};

int64_t positive(int64_t value, int64_t least, const char* name) {
  if (value < least) throw df::ConfigError(fmt::format("{}: expected at least {}, got {}", name, least, value));
  return value;
}

// One row a frame: an action's number, or its one-hot row.
Tensor read_actions(const fs::path& path, int64_t kinds, int64_t frames) {
  Tensor rows;
  if (path.extension() == ".npy") {
    rows = df::read_npy(path);
  } else {
    std::vector<double> values;
    std::istringstream lines(df::read_file(path));
    int64_t count = 0, columns = 0;
    for (std::string line; std::getline(lines, line);) {
      line.erase(std::find(line.begin(), line.end(), '#'), line.end());
      std::replace(line.begin(), line.end(), ',', ' ');
      std::istringstream numbers(line);
      const size_t before = values.size();
      for (double value = 0; numbers >> value;) values.push_back(value);
      if (!numbers.eof()) throw df::Error(fmt::format("{}:{}: expected numbers, got '{}'", path.string(), count + 1, line));
      const auto got = static_cast<int64_t>(values.size() - before);
      if (got == 0) continue;
      if (columns > 0 && got != columns)
        throw df::Error(fmt::format("{}: row {}: expected {} columns, got {}", path.string(), count, columns, got));
      columns = got;
      ++count;
    }
    rows = at::tensor(values, at::kDouble).reshape({count, std::max<int64_t>(columns, 1)});
  }
  if (rows.dim() == 2 && rows.size(1) == 1) rows = rows.squeeze(1);
  if (rows.size(0) < frames)
    throw df::Error(fmt::format("{}: expected at least {} rows, one a frame, got {}", path.string(), frames, rows.size(0)));
  rows = rows.narrow(0, 0, frames);
  if (rows.dim() == 1) {
    const auto numbers = rows.to(at::kLong);
    if (!at::equal(numbers.to(at::kDouble), rows.to(at::kDouble)) || numbers.min().item<int64_t>() < 0 ||
        numbers.max().item<int64_t>() >= kinds)
      throw df::Error(fmt::format("{}: expected actions 0 to {}, got {} to {}", path.string(), kinds - 1, rows.min().item<double>(),
                                  rows.max().item<double>()));
    rows = at::one_hot(numbers, kinds);
  }
  if (rows.dim() != 2 || rows.size(1) != kinds)
    throw df::Error(fmt::format("{}: expected {} columns or one, got {}", path.string(), kinds, df::to_string(rows.sizes().vec())));
  return rows.to(at::kFloat);
}

// What the model is shown: context, conditions and the truth, each where there is one, on the CPU.
struct Shown {
  int64_t context = 0, tokens = 0;  // tokens
  df::Batch data;                   // of context + tokens, where the data set is needed
  Tensor c;                         // [B, context + tokens, C]
};

Shown prepare(const Arguments& arguments, const df::TrainedModel& trained) {
  const int64_t stack = trained.spec.token.frame_stack, kinds = trained.model->condition_dim() / stack;
  Shown shown;
  if (arguments.context % stack != 0)
    throw df::ConfigError(fmt::format("--context: expected a multiple of the {} frames of a token, got {}", stack, arguments.context));
  shown.context = positive(arguments.context, 0, "--context") / stack;
  shown.tokens = (positive(arguments.frames, 1, "--frames") + stack - 1) / stack;
  if (arguments.truth && shown.context == 0)
    throw df::ConfigError("--truth: expected with --context: without a context there is no true future");
  if (!arguments.actions.empty() && kinds == 0) throw df::ConfigError("--actions: the model takes no conditions");
  const bool data_condition = kinds > 0 && arguments.actions.empty();
  if (shown.context > 0 || data_condition || !trained.spec.token.init_shape.empty()) {
    const auto data = df::make_dataset(trained.config.data, df::Split::validation);
    std::vector<df::Batch> samples;
    const int64_t tokens = arguments.truth || data_condition ? shown.context + shown.tokens : std::max<int64_t>(shown.context, 1);
    for (int64_t b = 0; b < arguments.sequences; ++b) {
      const uint64_t index = arguments.seed * static_cast<uint64_t>(arguments.sequences) + static_cast<uint64_t>(b);
      samples.push_back(data->get(static_cast<int64_t>(index % static_cast<uint64_t>(data->size())), tokens));
    }
    shown.data = df::stack(samples);
  }
  if (data_condition) shown.c = shown.data.c;
  if (!arguments.actions.empty())
    shown.c = df::actions_to_condition(read_actions(arguments.actions, kinds, (shown.context + shown.tokens) * stack), stack)
                  .unsqueeze(0)
                  .expand({arguments.sequences, -1, -1})
                  .contiguous();
  return shown;
}

df::RolloutConfig sampling_of(const Arguments& arguments, const df::TrainedModel& trained) {
  df::ExperimentConfig config = trained.config;
  if (!arguments.schedule.empty()) config.sampling.schedule = arguments.schedule;
  if (arguments.steps) config.sampling.steps = *arguments.steps;
  if (arguments.slope) config.sampling.slope = *arguments.slope;
  if (!arguments.precision.empty()) config.sampling.sampler.precision = df::enum_value<df::Precision>(arguments.precision, "--precision");
  if (arguments.cpu_workers) config.sampling.sampler.cpu_workers = *arguments.cpu_workers;
  df::validate(config);
  return config.sampling;
}

int sample(const Arguments& arguments) {
  positive(arguments.sequences, 1, "--sequences");
  if (arguments.threads > 0) at::set_num_threads(static_cast<int>(arguments.threads));
  const at::NoGradGuard no_grad;
  const df::TrainedModel trained = df::load_trained(arguments.checkpoint, arguments.config, arguments.device, arguments.raw);
  const df::RolloutConfig sampling = sampling_of(arguments, trained);
  const Shown shown = prepare(arguments, trained);
  const auto device = trained.model->device();
  const auto on_device = [&](const Tensor& tensor) { return tensor.defined() ? tensor.to(device) : tensor; };
  spdlog::info("{}: {} schedule, {} steps", trained.weights.string(), sampling.schedule, sampling.steps);

  df::TokenVideo video(arguments.out, trained.spec, {arguments.fps, arguments.scale, arguments.context + arguments.frames});
  const auto truth_of = [&](int64_t token) { return arguments.truth ? shown.data.x.select(1, token) : Tensor(); };
  for (int64_t t = 0; t < shown.context; ++t) video.write(shown.data.x.select(1, t), truth_of(t));
  df::RolloutInput input;
  input.tokens = shown.tokens;
  if (shown.context > 0) input.context = on_device(shown.data.x.narrow(1, 0, shown.context));
  input.z = trained.model->initial_latent(arguments.sequences, on_device(shown.data.init));
  input.c = on_device(shown.c);
  input.seed = df::derive_seed(arguments.seed, df::Stream::sampling);

  df::Progress progress("sample", arguments.frames, "frames");
  df::app::catch_signals();
  const auto stats = df::rollout(
      *trained.model, trained.diffusion, sampling, input,
      [&](int64_t token, const Tensor& x) { video.write(x, truth_of(shown.context + token)); },
      [&](double fraction, int64_t) {
        if (df::app::stop_flag()) throw df::Error("stopped: nothing was written");
        progress.update(std::llround(fraction * static_cast<double>(arguments.frames)));
      });
  video.close();
  progress.update(arguments.frames);
  progress.finish();
  const auto sequences = static_cast<double>(arguments.sequences), seconds = std::max(stats.seconds, 1e-9);
  fmt::print(stderr, "{} cells in {} calls, {:.1f} s: {:.0f} cells/s, {:.1f} frames/s\n", stats.cells * arguments.sequences, stats.steps,
             stats.seconds, static_cast<double>(stats.cells) * sequences / seconds,
             static_cast<double>(arguments.frames) * sequences / seconds);
  fmt::print("{} ({} frames, {})\n", arguments.out.string(), video.frames(), video.codec());
  return df::app::success;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Roll out videos of any length from a trained Diffusion Forcing model.", "df-sample");
  app.footer(examples);
  Arguments arguments;
  app.add_option("--checkpoint", arguments.checkpoint, "run folder, checkpoint folder or .safetensors file")->type_name("PATH")->required();
  app.add_option("--out", arguments.out, "video: .mp4, .gif, .npz or a folder")->type_name("FILE")->required();
  app.add_option("--config", arguments.config, "experiment of the weights [config.yaml of the run]")->type_name("FILE");
  app.add_option("--frames", arguments.frames, "frames to generate, after the context")->capture_default_str();
  app.add_option("--schedule", arguments.schedule, df::enum_choices<df::MatrixKind>() + ", or a matrix file [of the experiment]")
      ->type_name("KIND");
  app.add_option("--steps", arguments.steps, "sampling steps S [of the experiment]");
  app.add_option("--slope", arguments.slope, "rows between the starts of two tokens [of the experiment]");
  app.add_option("--context", arguments.context, "true frames shown first")->capture_default_str();
  app.add_flag("--truth", arguments.truth, "show the true video beside the sampled one");
  app.add_option("--sequences", arguments.sequences, "videos at once")->capture_default_str();
  app.add_option("--seed", arguments.seed, "of the noise and of the choice of contexts")->capture_default_str();
  app.add_option("--actions", arguments.actions, "one row a frame, npy or CSV [of the data set]")->type_name("FILE");
  app.add_option("--device", arguments.device, "cpu, cuda, cuda:<index> or auto")->capture_default_str();
  app.add_option("--fps", arguments.fps, "frames a second of the video")->capture_default_str();
  app.add_option("--scale", arguments.scale, "enlarge frames n times, 0: to about 256 pixels")->capture_default_str();
  app.add_option("--threads", arguments.threads, "CPU threads, 0: all")->capture_default_str();
  app.add_option("--precision", arguments.precision,
                 df::enum_choices<df::Precision>() + ": of model calls; a GPU is about twice as fast in bf16 [of the experiment]")
      ->type_name("TYPE");
  app.add_option("--cpu-workers", arguments.cpu_workers,
                 "CPU threads that share the rows of a model call, 0: --threads instead [of the experiment]");
  app.add_flag("--raw", arguments.raw, "the weights as they are, not their average");
  return df::app::run(app, argc, argv, [&] { return sample(arguments); });
}
