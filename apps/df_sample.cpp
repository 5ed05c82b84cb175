// SPDX-License-Identifier: MIT
// Rolls out videos from a trained model.
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <iostream>

#include "app.hpp"
#include "diffusion_forcing/core/precision.hpp"
#include "diffusion_forcing/procedures/sample_video.hpp"
#include "diffusion_forcing/sampling/scheduling_matrix.hpp"

namespace {

constexpr const char* examples = R"(
Examples:
  df-sample --checkpoint runs/video_quick --frames 1000 --out long.mp4
  df-sample --checkpoint runs/video --schedule pyramid --steps 25 --slope 2 --sequences 4 --out four.gif
  df-sample --checkpoint runs/video --context 16 --truth --sequences 3 --out beside_the_truth.mp4
  df-sample --checkpoint runs/video --frames 100 --sequences 4 --out sheet.png      ten frames of each as one picture
  df-sample --checkpoint runs/video/checkpoints/step_4000 --raw --out frames/      weights as they are, PNG frames
  my_joystick | df-sample --checkpoint runs/maze --actions - --out - |
      ffplay -f rawvideo -pixel_format rgb24 -video_size 256x256 -framerate 10 -    steered while it plays

The name's ending says how it is written: .mp4, .gif, .npz (video uint8 [sequences, frames, height, width, 3]), .png (a contact sheet), or a
folder of PNG frames. - is standard output: raw RGB24 frames, as they come. With --truth the true video stands on the left, the sampled one
on the right.
Actions are text with one line a frame: the number of the action taken at that frame, or its vector (numbers with commas or blanks between
them); '#' starts a comment. With --actions - lines are read from standard input: each is the action taken at the newest frame, and the next
frame comes out as soon as the schedule lets it, with the autoregressive one at once. The video ends with the input or after --frames.)";

struct Arguments {
  df::SampleVideoOptions video;
  int64_t threads = 0;
};

int sample(Arguments arguments) {
  if (arguments.threads > 0) at::set_num_threads(static_cast<int>(arguments.threads));
  std::signal(SIGPIPE, SIG_IGN);  // a reader of --out - that goes away is an error with a message
  df::app::catch_signals();
  df::SampleVideoOptions& options = arguments.video;
  options.live_actions = &std::cin;
  options.stop = [] { return df::app::stop_flag().load(); };
  const df::SampledVideo video = df::sample_video(options);
  const auto& stats = video.stats;
  const double seconds = std::max(stats.seconds, 1e-9), sequences = static_cast<double>(options.sequences);
  fmt::print(stderr, "{} cells in {} calls, {:.1f} s: {:.0f} cells/s, {:.1f} frames/s\n", stats.cells * options.sequences, stats.steps,
             stats.seconds, static_cast<double>(stats.cells) * sequences / seconds,
             static_cast<double>(video.frames - options.context) * sequences / seconds);
  const bool piped = options.out == "-";
  fmt::print(piped ? stderr : stdout, "{} ({} frames, {})\n",
             piped ? "standard output" : (options.out.empty() ? options.sheet : options.out).string(), video.frames, video.codec);
  return df::app::success;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Roll out videos of any length from a trained Diffusion Forcing model.", "df-sample");
  app.footer(examples);
  Arguments arguments;
  df::SampleVideoOptions& video = arguments.video;
  app.add_option("--checkpoint", video.checkpoint, "run folder, checkpoint folder or .safetensors file")->type_name("PATH")->required();
  auto* out = app.add_option("--out", video.out, "video: .mp4, .gif, .npz, .png, a folder, or - for standard output")->type_name("FILE");
  auto* sheet = app.add_option("--sheet", video.sheet, "also a PNG of ten frames of each sequence")->type_name("FILE");
  app.add_option("--config", video.config, "experiment of the weights [config.yaml of the run]")->type_name("FILE");
  app.add_option("--set", video.overrides, "override a key of the experiment, such as sampling.eta=1")->type_name("KEY=VALUE");
  app.add_option("--frames", video.frames, "frames to generate, after the context [100, or as many as live actions lead to]");
  app.add_option("--schedule", video.schedule, df::enum_choices<df::MatrixKind>() + ", or a matrix file [of the experiment]")
      ->type_name("KIND");
  app.add_option("--steps", video.steps, "sampling steps S; a matrix file has its own [of the experiment]");
  app.add_option("--slope", video.slope, "rows between the starts of two tokens [of the experiment]");
  app.add_option("--context", video.context, "true frames shown first")->capture_default_str();
  app.add_flag("--truth", video.truth, "show the true video beside the sampled one");
  app.add_option("--sequences", video.sequences, "videos at once")->capture_default_str();
  app.add_option("--seed", video.seed, "of the noise and of the choice of contexts")->capture_default_str();
  app.add_option("--actions", video.actions, "one row a frame, npy or text, or - for standard input [of the data set]")->type_name("FILE");
  app.add_option("--device", video.device, "cpu, cuda, cuda:<index> or auto")->capture_default_str();
  app.add_option("--fps", video.fps, "frames a second of the video")->capture_default_str();
  app.add_option("--scale", video.scale, "enlarge frames n times, 0: to about 256 pixels")->capture_default_str();
  app.add_option("--threads", arguments.threads, "CPU threads, 0: all")->capture_default_str();
  app.add_option("--precision", video.precision,
                 df::enum_choices<df::Precision>() + ": of model calls; a GPU is about twice as fast in bf16 [of the experiment]")
      ->type_name("TYPE");
  app.add_option("--cpu-workers", video.cpu_workers,
                 "CPU threads that share the sequences of a model call, 0: --threads instead [of the experiment]");
  app.add_flag("--raw", video.raw, "the weights as they are, not their average");
  return df::app::run(app, argc, argv, [&] {
    if (out->empty() && sheet->empty()) throw df::ConfigError("--out: expected a file, a folder or - for standard output");
    return sample(arguments);
  });
}
