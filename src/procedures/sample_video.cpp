// SPDX-License-Identifier: MIT
#include "diffusion_forcing/procedures/sample_video.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "diffusion_forcing/core/enum_names.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/data/video_tokens.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/procedures/procedures.hpp"
#include "diffusion_forcing/procedures/token_video.hpp"
#include "diffusion_forcing/sampling/rollout.hpp"
#include "diffusion_forcing/sampling/rollout_stream.hpp"
#include "diffusion_forcing/sampling/scheduling_matrix.hpp"
#include "diffusion_forcing/training/progress.hpp"
#include "procedures/actions.hpp"
#include "procedures/token_sheet.hpp"

namespace df {

namespace {

namespace fs = std::filesystem;

int64_t at_least(int64_t least, int64_t value, const char* name) {
  if (value < least) throw ConfigError(fmt::format("{}: expected at least {}, got {}", name, least, value));
  return value;
}

bool live(const SampleVideoOptions& options) { return options.actions == "-"; }

// Frames to generate; nothing where only the actions end the video.
std::optional<int64_t> frames_of(const SampleVideoOptions& options) {
  if (options.frames) return at_least(1, *options.frames, "--frames");
  return live(options) ? std::nullopt : std::optional<int64_t>(100);
}

// What the model is shown: context, conditions and the truth, each where there is one, on the CPU.
struct Shown {
  int64_t context = 0;            // tokens
  std::optional<int64_t> tokens;  // to generate
  Batch data;                     // of the context and more, where the data set is needed
  Tensor c;                       // [B, context + tokens, C]; of the context alone where actions come live
};

void check_together(const SampleVideoOptions& options, const TrainedModel& trained) {
  at_least(1, options.sequences, "--sequences");
  const int64_t stack = trained.spec.token.frame_stack;
  if (options.context % stack != 0)
    throw ConfigError(fmt::format("--context: expected a multiple of the {} frames of a token, got {}", stack, options.context));
  at_least(0, options.context, "--context");
  if (options.truth && options.context == 0)
    throw ConfigError("--truth: expected with --context: without a context there is no true future");
  if (options.truth && live(options)) throw ConfigError("--truth: expected without live actions, which the true future does not follow");
  if (!options.actions.empty() && trained.model->condition_dim() == 0) throw ConfigError("--actions: the model takes no conditions");
  if (live(options) && !options.live_actions) throw ConfigError("--actions -: expected a stream of actions, got none");
  if (options.out.empty() && options.sheet.empty()) throw ConfigError("--out: expected a file, a folder or '-', got nothing");
  if (!options.sheet.empty() && !frames_of(options))
    throw ConfigError("--sheet: expected with --frames, since its frames are spread over the whole video");
}

Shown prepare(const SampleVideoOptions& options, const TrainedModel& trained) {
  const int64_t stack = trained.spec.token.frame_stack, kinds = trained.model->condition_dim() / stack;
  Shown shown;
  shown.context = options.context / stack;
  if (const auto frames = frames_of(options)) shown.tokens = (*frames + stack - 1) / stack;
  const bool data_condition = kinds > 0 && options.actions.empty();
  if (shown.context > 0 || data_condition || !trained.spec.token.init_shape.empty()) {
    const auto data = make_dataset(trained.config.data, Split::validation);
    std::vector<Batch> samples;
    const int64_t tokens = options.truth || data_condition ? shown.context + *shown.tokens : std::max<int64_t>(shown.context, 1);
    for (int64_t b = 0; b < options.sequences; ++b) {
      const uint64_t index = options.seed * static_cast<uint64_t>(options.sequences) + static_cast<uint64_t>(b);
      samples.push_back(data->get(static_cast<int64_t>(index % static_cast<uint64_t>(data->size())), tokens));
    }
    shown.data = df::stack(samples);
  }
  if (data_condition) shown.c = shown.data.c;
  if (live(options) && shown.context > 0) shown.c = shown.data.c.narrow(1, 0, shown.context);
  if (!options.actions.empty() && !live(options))
    shown.c = actions_to_condition(read_action_file(options.actions, kinds, (shown.context + *shown.tokens) * stack), stack)
                  .unsqueeze(0)
                  .expand({options.sequences, -1, -1})
                  .contiguous();
  return shown;
}

RolloutConfig sampling_of(const SampleVideoOptions& options, const TrainedModel& trained) {
  ExperimentConfig config = trained.config;
  RolloutConfig& sampling = config.sampling;
  if (options.schedule) sampling.schedule = *options.schedule;
  if (options.steps) sampling.steps = *options.steps;
  if (options.slope) sampling.slope = *options.slope;
  if (options.precision) sampling.sampler.precision = enum_value<Precision>(*options.precision, "--precision");
  if (options.cpu_workers) sampling.sampler.cpu_workers = *options.cpu_workers;
  validate(config);
  return sampling;
}

void say_what_has_no_effect(const SampleVideoOptions& options, const RolloutConfig& sampling) {
  if (!parse_schedule(sampling.schedule) && (options.steps || options.slope))
    spdlog::warn("--steps and --slope have no effect: {} has its own rows", sampling.schedule);
  if (sampling.policy.stabilization != PlanPolicy().stabilization && sampling.policy.finished == Finished::last_call &&
      options.context == 0)
    spdlog::warn(
        "sampling.stabilization has no effect: it is the level of a context, and of finished tokens with sampling.finished reencode");
}

// The files that a video goes to.
class Output {
 public:
  Output(const SampleVideoOptions& options, const DataSpec& spec, int64_t frames) : frames_(frames) {
    if (!options.out.empty()) video_.emplace(options.out, spec, TokenVideoOptions{options.fps, options.scale, frames});
    if (!options.sheet.empty()) sheet_.emplace(options.sheet, spec, frames, options.scale);
    stack_ = spec.token.frame_stack;
  }
  void write(const Tensor& x, const Tensor& truth) {
    if (video_) video_->write(x, truth);
    if (sheet_) sheet_->write(x, truth);
    written_ += stack_;
  }
  void close() {
    if (video_) video_->close();
    if (sheet_) sheet_->close();
  }
  int64_t frames() const { return frames_ > 0 ? std::min(written_, frames_) : written_; }
  std::string codec() const { return video_ ? video_->codec() : "PNG"; }

 private:
  std::optional<TokenVideo> video_;
  std::optional<TokenSheet> sheet_;
  int64_t frames_, stack_ = 1, written_ = 0;
};

void stop_if_asked(const SampleVideoOptions& options) {
  if (options.stop && options.stop()) throw Error("stopped: nothing was written");
}

// What sampling starts from, on the model's device.
struct Start {
  Tensor context, c, z;
  uint64_t seed;
};

Start start_of(const SampleVideoOptions& options, const TrainedModel& trained, const Shown& shown) {
  const auto on_device = [device = trained.model->device()](const Tensor& tensor) { return tensor.defined() ? tensor.to(device) : tensor; };
  return {shown.context > 0 ? on_device(shown.data.x.narrow(1, 0, shown.context)) : Tensor(), on_device(shown.c),
          trained.model->initial_latent(options.sequences, on_device(shown.data.init)), derive_seed(options.seed, Stream::sampling)};
}

RolloutStats sample_whole(const SampleVideoOptions& options, const TrainedModel& trained, const RolloutConfig& sampling, const Shown& shown,
                          Output& output) {
  const Start start = start_of(options, trained, shown);
  RolloutInput input;
  input.tokens = *shown.tokens;
  input.context = start.context;
  input.c = start.c;
  input.z = start.z;
  input.seed = start.seed;
  const int64_t frames = *frames_of(options);
  Progress progress("sample", frames, "frames");
  const RolloutStats stats = rollout(
      *trained.model, trained.diffusion, sampling, input,
      [&](int64_t token, const Tensor& x) { output.write(x, options.truth ? shown.data.x.select(1, shown.context + token) : Tensor()); },
      [&](double fraction, int64_t) {
        stop_if_asked(options);
        progress.update(std::llround(fraction * static_cast<double>(frames)));
      });
  output.close();
  progress.update(frames);
  progress.finish();
  return stats;
}

RolloutStats sample_live(const SampleVideoOptions& options, const TrainedModel& trained, const RolloutConfig& sampling, const Shown& shown,
                         Output& output) {
  const int64_t stack = trained.spec.token.frame_stack, kinds = trained.model->condition_dim() / stack, B = options.sequences;
  const Start start = start_of(options, trained, shown);
  RolloutStream stream(*trained.model, trained.diffusion, sampling, B, start.seed, {start.z, 0});
  stream.on_step([&](const RolloutStats&) { stop_if_asked(options); });
  if (start.context.defined()) stream.context(start.context, start.c);
  const bool with_context = shown.context > 0;
  if (const int64_t ahead = stream.lookahead() * stack - (with_context ? 0 : 1); ahead > 1)
    spdlog::info("this schedule looks ahead: the first frame comes after {} actions", ahead);
  ActionConditions conditions(ActionLines(*options.live_actions, "standard input", kinds), kinds, stack, with_context);
  int64_t pushed = 0;
  for (bool more = true; more;) {
    const auto c = shown.tokens && pushed == *shown.tokens ? std::nullopt : conditions.next();
    more = c.has_value();
    if (more) {
      stream.push(c->unsqueeze(0).expand({B, -1}).to(start.z.device()));
      ++pushed;
    } else {
      stream.finish();
    }
    while (const auto x = stream.next()) output.write(*x, {});
  }
  if (shown.tokens && pushed < *shown.tokens)
    spdlog::info("the actions ended before the {} frames of --frames: {} actions", *frames_of(options), conditions.actions());
  output.close();
  return stream.stats();
}

}  // namespace

SampledVideo sample_video(const SampleVideoOptions& asked) {
  const at::NoGradGuard no_grad;
  SampleVideoOptions options = asked;
  if (options.out.extension() == ".png" && options.sheet.empty()) std::swap(options.out, options.sheet);
  const TrainedModel trained = load_trained(options.checkpoint, options.config, options.device, options.raw, options.overrides);
  check_together(options, trained);
  const RolloutConfig sampling = sampling_of(options, trained);
  const Shown shown = prepare(options, trained);
  spdlog::info("{}: {}", trained.weights.string(), describe(sampling, shown.tokens));
  say_what_has_no_effect(options, sampling);
  const auto frames = frames_of(options);
  Output output(options, trained.spec, frames ? options.context + *frames : 0);
  for (int64_t t = 0; t < shown.context; ++t) {
    const Tensor x = shown.data.x.select(1, t);
    output.write(x, options.truth ? x : Tensor());
  }
  SampledVideo video;
  video.stats =
      live(options) ? sample_live(options, trained, sampling, shown, output) : sample_whole(options, trained, sampling, shown, output);
  video.frames = output.frames();
  video.codec = output.codec();
  return video;
}

}  // namespace df
