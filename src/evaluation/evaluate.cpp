// SPDX-License-Identifier: MIT
#include "diffusion_forcing/evaluation/evaluate.hpp"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "core/require.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/data/video_tokens.hpp"
#include "diffusion_forcing/models/causal_model.hpp"

namespace df {

namespace {

Tensor frames_of(const Tensor& tokens, const DataSpec& spec) {
  return tokens_to_frames(tokens, spec.token.frame_stack, spec.mean, spec.std);
}

Tensor unit(const Tensor& frames) { return frames.to(at::kFloat) / 255.0; }

// The future of clip `index` after the context, uint8 [frames, 3, H, W].
Tensor future(const Batch& clip, const DataSpec& spec, const EvaluationConfig& config) {
  const auto frames = frames_of(clip.x, spec);
  return frames.slice(0, config.context, config.context + config.frames);
}

int64_t clip_tokens(const EvaluationConfig& config, const DataSpec& spec) {
  return (config.context + config.frames) / spec.token.frame_stack;
}

uint64_t bootstrap_seed(const EvaluationConfig& config) { return derive_seed(config.seed, Stream::bootstrap); }

void append(std::vector<Curve>& curves, std::vector<Curve> more) { std::move(more.begin(), more.end(), std::back_inserter(curves)); }

// The first and the last window of each curve, for the table.
void summarise(RunReport& report) {
  for (const auto& curve : report.curves) {
    if (curve.points.empty()) continue;
    for (const auto& point : {curve.points.front(), curve.points.back()}) {
      const auto name = fmt::format("{} {}-{}", curve.name, point.first, point.last);
      if (report.numbers.empty() || report.numbers.back().first != name) report.numbers.emplace_back(name, point.value);
    }
  }
}

// Generated frames of a batch, measured once a window's worth of tokens is there.
class Collector {
 public:
  Collector(const EvaluationConfig& config, const DataSpec& spec, const FrameSink& sink, WindowMetrics& windows, TruthMetrics& truth)
      : config_(config), spec_(spec), sink_(sink), windows_(windows), truth_(truth) {}

  void start(int64_t first, std::vector<Tensor> futures) {
    first_ = first;
    futures_ = std::move(futures);
    done_ = 0;
  }
  void add(const Tensor& x) {
    pending_.push_back(x.detach().to(at::kCPU));
    if (static_cast<int64_t>(pending_.size()) * spec_.token.frame_stack >= config_.window) flush();
  }
  void finish() {
    flush();
    for (size_t b = 0; b < futures_.size(); ++b) windows_.finish(first_ + static_cast<int64_t>(b));
    futures_.clear();
  }

 private:
  void flush() {
    if (pending_.empty()) return;
    const auto tokens = at::stack(pending_, 1);  // [B, n, token...]
    pending_.clear();
    int64_t count = 0;
    for (size_t b = 0; b < futures_.size(); ++b) {
      const auto frames = frames_of(tokens[static_cast<int64_t>(b)], spec_);
      const int64_t sequence = first_ + static_cast<int64_t>(b);
      count = frames.size(0);
      truth_.add(sequence, unit(frames), unit(futures_[b].slice(0, done_, done_ + count)));
      windows_.add(sequence, unit(frames));
      if (sink_) sink_(sequence, frames);
    }
    done_ += count;
  }

  const EvaluationConfig& config_;
  const DataSpec& spec_;
  const FrameSink& sink_;
  WindowMetrics& windows_;
  TruthMetrics& truth_;
  int64_t first_ = 0, done_ = 0;
  std::vector<Tensor> futures_, pending_;
};

Tensor on(const Tensor& tensor, at::Device device) { return tensor.defined() ? tensor.to(device) : tensor; }

// One batch of rollouts: sequences first .. first + size - 1.
void roll_out(const Subject& subject, const Dataset& data, const EvaluationConfig& config, int64_t first, int64_t size,
              Collector& collector, const RolloutProgress& progress) {
  const int64_t stack_size = subject.spec.token.frame_stack, context = config.context / stack_size;
  const auto device = subject.model.device();
  std::vector<Tensor> futures, shown, conditions, inits;
  for (int64_t s = first; s < first + size; ++s) {
    const auto clip = data.get(s, clip_tokens(config, subject.spec));
    futures.push_back(future(clip, subject.spec, config));
    shown.push_back(clip.x.slice(0, 0, context).clone());  // not a view: the clip is let go
    if (clip.c.defined()) conditions.push_back(clip.c);
    if (clip.init.defined()) inits.push_back(clip.init);
  }
  RolloutInput input;
  input.tokens = config.frames / stack_size;
  if (context > 0) input.context = at::stack(shown).to(device);
  if (subject.model.condition_dim() > 0) input.c = at::stack(conditions).to(device);
  input.z = subject.model.initial_latent(size, inits.empty() ? Tensor() : at::stack(inits).to(device));
  input.seed = config.seed;
  input.first_sequence = first;
  collector.start(first, std::move(futures));
  rollout(
      subject.model, subject.diffusion, subject.rollout, input, [&](int64_t, const Tensor& x) { collector.add(x); }, progress);
  collector.finish();
}

// Sums over sequences of what likelihood() gives, by bootstrap group.
class LikelihoodSums {
 public:
  void add(int64_t sequence, const Likelihood& bound, double std) {
    const auto group = static_cast<size_t>(bootstrap_group(sequence));
    const double elements = static_cast<double>(bound.elements);
    const auto values = at::cat({at::stack({bound.nats(), bound.prior, bound.posterior, bound.diffusion.sum(1)}, 1) / elements,
                                 bound.bits_per_element(std).unsqueeze(1), bound.x0_error, bound.eps_error, bound.diffusion / elements},
                                1)[0];
    sums_[group] = sums_[group].defined() ? sums_[group] + values : values;
    counts_[group] += 1.0;
    levels_ = bound.levels;
    groups_ = std::max(groups_, static_cast<int64_t>(group) + 1);
  }
  void report(RunReport& report, int64_t replicates, uint64_t seed) const {
    const Resamples resamples(groups_, replicates, seed);
    const auto mean = [&](int64_t column) {
      return resamples.interval([&](const Resamples::Counts& counts) {
        double total = 0.0, weight = 0.0;
        for (size_t g = 0; g < counts.size(); ++g) {
          total += counts[g] * sums_[g].data_ptr<double>()[column];
          weight += counts[g] * counts_[g];
        }
        return total / weight;
      });
    };
    constexpr std::array<const char*, 5> names{"elbo nats/element", "elbo prior (k = K)", "elbo posterior (k = 0)", "elbo diffusion",
                                               "elbo bits/element"};
    for (size_t i = 0; i < names.size(); ++i) report.numbers.emplace_back(names[i], mean(static_cast<int64_t>(i)));
    const auto steps = static_cast<int64_t>(levels_.size());
    constexpr std::array<const char*, 3> curves{"x0_error_by_level", "eps_error_by_level", "kl_by_level"};
    for (size_t i = 0; i < curves.size(); ++i) {
      Curve curve{curves[i], {}};
      for (int64_t j = 0; j < steps; ++j) {
        const int64_t level = levels_[static_cast<size_t>(j)];
        curve.points.push_back({level, level, mean(static_cast<int64_t>(names.size()) + static_cast<int64_t>(i) * steps + j)});
      }
      report.curves.push_back(std::move(curve));
    }
  }

 private:
  std::array<Tensor, bootstrap_groups> sums_;
  std::array<double, bootstrap_groups> counts_{};
  std::vector<int32_t> levels_;
  int64_t groups_ = 0;
};

void add_likelihood(const Subject& subject, const Dataset& data, const EvaluationConfig& config, RunReport& report) {
  if (config.likelihood_sequences == 0) return;
  const auto device = subject.model.device();
  LikelihoodSums sums;
  for (int64_t s = 0; s < config.likelihood_sequences; ++s) {
    const auto clip = data.get(s % data.size());
    LossInput input;
    input.x0 = clip.x.unsqueeze(0).to(device);
    if (clip.c.defined()) input.c = clip.c.unsqueeze(0).to(device);
    input.z = subject.model.initial_latent(1, clip.init.defined() ? on(clip.init.unsqueeze(0), device) : Tensor());
    const auto seed = derive_seed(config.seed, Stream::validation, static_cast<uint64_t>(s));
    sums.add(s, likelihood(subject.model, subject.diffusion, config.likelihood, input, seed), subject.spec.std);
  }
  sums.report(report, config.replicates, bootstrap_seed(config));
}

}  // namespace

void validate(const EvaluationConfig& config, const DataSpec& spec, const Dataset& data) {
  const Require require("evaluation: ");
  require.at_least("sequences", config.sequences, 1);
  require.at_least("frames", config.frames, 2);
  require.at_least("context", config.context, 0);
  require.at_least("batch", config.batch, 1);
  require.at_least("window", config.window, 2);
  require.at_least("replicates", config.replicates, 2);
  require.at_least("likelihood sequences", config.likelihood_sequences, 0);
  const int64_t stack_size = spec.token.frame_stack;
  for (const auto& [name, value] : {std::pair{"frames", config.frames}, std::pair{"context", config.context}})
    require(value % stack_size == 0, name, fmt::format("a multiple of the {} frames of a token", stack_size), value);
  if (spec.token.token_shape.size() != 3 || spec.token.token_shape[0] != 3 * stack_size)
    throw Error(
        fmt::format("evaluation: expected tokens of RGB frames, [{}, H, W], got {}", 3 * stack_size, to_string(spec.token.token_shape)));
  if (data.size() < 2 * config.sequences)
    throw Error(
        fmt::format("evaluation: sequences: expected at most {}, half of the held-out ones, got {}", data.size() / 2, config.sequences));
}

WindowSums reference_frames(const Dataset& data, const EvaluationConfig& config) {
  const auto spec = data.spec();
  validate(config, spec, data);
  WindowMetrics metrics(config.window);
  for (int64_t s = 0; s < config.sequences; ++s) {
    const auto frames = future(data.get(config.sequences + s, clip_tokens(config, spec)), spec, config);
    for (const auto& part : frames.split(config.window)) metrics.add(s, unit(part));
    metrics.finish(s);
  }
  return metrics.pooled();
}

RunReport evaluate_truth(const Dataset& data, const WindowSums& reference, const EvaluationConfig& config, const FrameSink& sink) {
  const auto spec = data.spec();
  validate(config, spec, data);
  WindowMetrics metrics(config.window);
  for (int64_t s = 0; s < config.sequences; ++s) {
    const auto frames = future(data.get(s, clip_tokens(config, spec)), spec, config);
    for (const auto& part : frames.split(config.window)) {
      metrics.add(s, unit(part));
      if (sink) sink(s, part);
    }
    metrics.finish(s);
  }
  RunReport report{"real", config.sequences, config.frames, {{"data", data.describe()}}, {}, {}};
  report.curves = drift_curves(metrics, reference, config.replicates, bootstrap_seed(config));
  summarise(report);
  return report;
}

RunReport evaluate_model(const Subject& subject, const Dataset& data, const WindowSums& reference, const EvaluationConfig& config,
                         const FrameSink& sink, const EvaluationProgress& progress) {
  validate(config, subject.spec, data);
  const at::NoGradGuard no_grad;
  WindowMetrics windows(config.window);
  TruthMetrics truth;
  Collector collector(config, subject.spec, sink, windows, truth);
  for (int64_t first = 0; first < config.sequences; first += config.batch) {
    const int64_t size = std::min(config.batch, config.sequences - first);
    const auto report_progress = [&](double fraction, int64_t) {
      if (progress) progress((static_cast<double>(first) + fraction * static_cast<double>(size)) / static_cast<double>(config.sequences));
    };
    roll_out(subject, data, config, first, size, collector, report_progress);
  }
  RunReport report{subject.name, config.sequences, config.frames, {}, {}, {}};
  report.curves = truth.curves(config.window, config.replicates, bootstrap_seed(config));
  append(report.curves, drift_curves(windows, reference, config.replicates, bootstrap_seed(config)));
  summarise(report);
  add_likelihood(subject, data, config, report);
  return report;
}

}  // namespace df
