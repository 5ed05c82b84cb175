// SPDX-License-Identifier: MIT
// Trains the experiment of a YAML file.
#include <fmt/format.h>

#include "app.hpp"
#include "diffusion_forcing/procedures/procedures.hpp"

namespace {

constexpr const char* examples = R"(
Examples:
  df-train --config video_quick.yaml
  df-train --config video.yaml --set data.type=video_folder --set data.path=my_videos --out runs/mine
  df-train --resume --out runs/mine                                   go on after an interruption
  df-train --resume --out runs/mine --set training.steps=40000        train longer
  df-train --resume --out runs/mine --set training.learning_rate=1e-4 with another learning rate
  df-train --config video.yaml --init runs/mine --out runs/finetuned  start from trained weights

Ctrl-C finishes the step, saves a checkpoint and exits with 130. Exit codes: 0 done, 1 failed, 2 bad usage or config.)";

struct Arguments {
  std::string config;
  std::vector<std::string> overrides;
  df::TrainOptions options;
  bool print_config = false, dry_run = false;
};

df::ExperimentConfig read_config(const Arguments& arguments) {
  if (arguments.options.force && !arguments.options.resume) throw df::ConfigError("--force: expected with --resume");
  if (!arguments.config.empty()) return df::load_experiment(arguments.config, arguments.overrides);
  if (!arguments.options.resume || arguments.options.out.empty())
    throw df::ConfigError("--config: missing; expected an experiment file, or --resume with --out RUN");
  const auto path = arguments.options.out / "config.yaml";
  if (!std::filesystem::exists(path))
    throw df::ConfigError(arguments.options.out.string() + ": nothing to resume: config.yaml is not there");
  return df::load_experiment(path, arguments.overrides);
}

void print(const df::DryRun& run) {
  const auto& token = run.spec.token;
  fmt::print("data        {}\n", run.data);
  fmt::print("sequence    {} tokens of {} ({} frames a token), condition of {} numbers, mean {}, std {}\n", run.spec.tokens,
             df::to_string(token.token_shape), token.frame_stack, token.condition_dim, run.spec.mean, run.spec.std);
  fmt::print("model       {:.3f} M parameters\n", static_cast<double>(run.parameters) / 1e6);
  fmt::print("device      {}\n", run.device);
  fmt::print("step        {:.3f} s, {:.0f} frames/s, loss {:.4g} at the first step\n", run.step_seconds,
             static_cast<double>(run.frames_per_step) / run.step_seconds, run.loss);
  fmt::print("memory      {:.2f} GiB at its peak\n", static_cast<double>(run.memory_bytes) / (1 << 30));
}

int train(Arguments& arguments) {
  const df::ExperimentConfig config = read_config(arguments);
  df::validate(config);
  if (arguments.print_config) {
    fmt::print("{}", df::dump_experiment(config));
    return df::app::success;
  }
  if (arguments.dry_run) {
    const df::DryRun run = df::dry_run(config, arguments.options.device);
    print(run);
    fmt::print("training    {} steps, about {:.1f} hours\n", config.training.trainer.steps,
               run.step_seconds * static_cast<double>(config.training.trainer.steps) / 3600.0);
    return df::app::success;
  }
  df::app::catch_signals();
  arguments.options.stop = [] { return df::app::stop_flag().load(); };
  const auto folder = df::train(config, arguments.options);
  if (df::app::stop_flag()) {
    fmt::print(stderr, "stopped, and saved; go on with: df-train --resume --out {}\n", folder.string());
    return df::app::interrupted;
  }
  fmt::print("{}\n", folder.string());
  return df::app::success;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Train a Diffusion Forcing model as an experiment file says.", "df-train");
  app.footer(examples);
  Arguments arguments;
  app.add_option("--config", arguments.config, "experiment file; a bare name is also looked for among the installed ones")
      ->type_name("FILE");
  app.add_option("--set", arguments.overrides, "override a key, e.g. training.steps=100; may be repeated")
      ->type_name("KEY=VALUE")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false);
  app.add_option("--out", arguments.options.out, "run folder [runs/<name of the experiment>]")->type_name("DIR");
  app.add_flag("--resume", arguments.options.resume, "go on from the newest checkpoint of the run folder");
  app.add_flag("--force", arguments.options.force,
               "resume with other values of keys that change what the run learns or shows; run.json records them");
  app.add_option("--init", arguments.options.init, "weights to start from: a run, a checkpoint or a .safetensors file")->type_name("FILE");
  app.add_option("--device", arguments.options.device, "cpu, cuda, cuda:<index> or auto")->capture_default_str();
  app.add_flag("--print-config", arguments.print_config, "print the complete experiment and stop");
  app.add_flag("--dry-run", arguments.dry_run, "build everything, run two steps, print what they cost and stop");
  return df::app::run(app, argc, argv, [&] { return train(arguments); });
}
