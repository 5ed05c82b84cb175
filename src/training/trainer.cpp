// SPDX-License-Identifier: MIT
#include "diffusion_forcing/training/trainer.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/autograd.h>

#include <algorithm>
#include <chrono>
#include <deque>

#include "core/autocast.hpp"
#include "core/worker_pool.hpp"
#include "diffusion_forcing/core/accelerator.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/data/loader.hpp"
#include "diffusion_forcing/training/ema.hpp"
#include "training/step_recorder.hpp"
#include "training/step_statistics.hpp"

namespace df {

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

// Gradient sums, one a parameter, undefined where no part had a gradient.
using Gradients = std::vector<Tensor>;

void add_into(Gradients& sum, Gradients&& part) {
  const at::NoGradGuard no_grad;
  if (sum.empty()) sum.resize(part.size());
  std::vector<Tensor> into, from;
  for (size_t i = 0; i < part.size(); ++i) {
    if (!part[i].defined()) continue;
    if (sum[i].defined()) {
      into.push_back(sum[i]);
      from.push_back(part[i]);
    } else {
      sum[i] = std::move(part[i]);
    }
  }
  if (!into.empty()) at::_foreach_add_(into, from);
}

// Steps per second over the last reports.
class Rate {
 public:
  void add(int64_t step, double seconds) {
    points_.emplace_back(step, seconds);
    if (points_.size() > 10) points_.pop_front();
  }
  double per_second() const {
    const auto [first, start] = points_.front();
    const auto [last, end] = points_.back();
    return end > start ? static_cast<double>(last - first) / (end - start) : 0.0;
  }

 private:
  std::deque<std::pair<int64_t, double>> points_;
};

void require(bool good, const char* key, const std::string& expected, const std::string& got) {
  if (!good) throw Error(fmt::format("training.{}: expected {}, got {}", key, expected, got));
}

void require_at_least(int64_t least, int64_t value, const char* key) {
  require(value >= least, key, fmt::format("at least {}", least), std::to_string(value));
}

}  // namespace

void validate(const TrainerConfig& c) {
  require_at_least(1, c.steps, "steps");
  require_at_least(1, c.batch, "batch");
  require_at_least(1, c.accumulate, "accumulate");
  require_at_least(0, c.cpu_workers, "cpu_workers");
  require_at_least(0, c.loader_workers, "loader_workers");
  require_at_least(1, c.log_every, "log_every");
  require_at_least(0, c.validate_every, "validate_every");
  require_at_least(1, c.validation_batches, "validation_batches");
  require_at_least(0, c.sample_every, "sample_every");
  require_at_least(0, c.checkpoint_every, "checkpoint_every");
  require_at_least(0, c.keep_checkpoints, "keep_checkpoints");
  const int64_t parts = c.accumulate * std::max<int64_t>(1, c.cpu_workers);
  require(c.batch >= parts, "batch", fmt::format("at least accumulate x cpu_workers = {} sequences, one a part", parts),
          std::to_string(c.batch));
  require(c.ema >= 0.0 && c.ema < 1.0, "ema", "0 (none) or a decay below 1", fmt::format("{}", c.ema));
  validate(c.optimizer);
}

struct Trainer::State {
  TrainerConfig config;
  NamedTensors all, trained;
  std::vector<Tensor> parameters;
  Objective objective;
  Loader& loader;
  uint64_t seed;
  at::Device device;
  const Accelerator& accelerator;
  AdamW optimizer;
  std::optional<Ema> ema;
  std::unique_ptr<WorkerPool> workers;
  StepStatistics statistics;
  StepRecorder recorder;
  int64_t n = 0;  // optimiser steps done
  bool swapped = false;

  State(const TrainerConfig& config_, NamedTensors all_, NamedTensors trained_, Objective objective_, Loader& loader_, uint64_t seed_,
        at::Device device_)
      : config(config_),
        all(std::move(all_)),
        trained(std::move(trained_)),
        objective(std::move(objective_)),
        loader(loader_),
        seed(seed_),
        device(device_),
        accelerator(df::accelerator(device.str())),
        optimizer(config.optimizer, trained),
        statistics(device),
        recorder(accelerator, [this](const Batch& batch, const at::Generator& generator) { compute_step(batch, generator); }) {
    for (const auto& [name, tensor] : trained) parameters.push_back(tensor);
    if (config.ema > 0.0) ema.emplace(config.ema, trained);
    if (device.is_cpu() && config.cpu_workers > 0) workers = std::make_unique<WorkerPool>(config.cpu_workers);
  }

  double rate(int64_t step) const { return learning_rate(config.optimizer, step, config.steps); }

  // Adds weight * d loss / d parameters of rows begin..end to `gradients` and returns weight * loss.
  Tensor backward(const Batch& batch, const std::vector<Tensor>& draws, int64_t begin, int64_t end, Gradients& gradients) const {
    const at::AutoGradMode record(true);
    const int64_t rows = batch.x.size(0);
    const bool whole = begin == 0 && end == rows;
    std::vector<Tensor> part;
    for (const auto& draw : draws) part.push_back(whole || !draw.defined() ? draw : draw.slice(0, begin, end));
    Tensor loss;
    {
      const bool bf16 = config.precision == Precision::bf16;
      const Autocast autocast(device.type(), bf16, /*cache=*/bf16 && !workers);
      loss = objective.loss(whole ? batch : batch.slice(begin, end), part);
    }
    // A loss that is the same for every weight has no gradient at all; the weights then stay as they are.
    const auto weighted = whole ? loss : loss * (static_cast<double>(end - begin) / static_cast<double>(rows));
    if (weighted.requires_grad())
      add_into(gradients, torch::autograd::grad({weighted}, parameters, /*grad_outputs=*/{}, /*retain_graph=*/false, /*create_graph=*/false,
                                                /*allow_unused=*/true));
    else if (gradients.empty())
      gradients.resize(parameters.size());
    return weighted.detach();
  }

  // Mean loss of the batch; its gradient in `gradients`. The order of every sum is fixed, so that results do not depend on which
  // worker is first.
  Tensor forward_backward(const Batch& batch, const std::vector<Tensor>& draws, Gradients& gradients) {
    const int64_t rows = batch.x.size(0), width = workers ? workers->size() : 1, parts = config.accumulate * width;
    if (rows < parts) throw Error(fmt::format("training.batch: expected at least {} sequences, one a part, got {}", parts, rows));
    const auto bound = [&](int64_t part) { return part * rows / parts; };
    std::vector<Gradients> sums(static_cast<size_t>(width));
    std::vector<Tensor> losses(static_cast<size_t>(width));
    const auto work = [&](int64_t worker) {
      auto& loss = losses[static_cast<size_t>(worker)];
      for (int64_t i = 0; i < config.accumulate; ++i) {
        const int64_t part = i * width + worker;
        const auto value = backward(batch, draws, bound(part), bound(part + 1), sums[static_cast<size_t>(worker)]);
        loss = loss.defined() ? loss + value : value;
      }
    };
    if (workers)
      workers->run(work);
    else
      work(0);
    gradients = std::move(sums[0]);
    Tensor loss = losses[0];
    for (size_t worker = 1; worker < sums.size(); ++worker) {
      add_into(gradients, std::move(sums[worker]));
      loss = loss + losses[worker];
    }
    return loss;
  }

  // Draw, forward, backward, clip, AdamW, EMA: everything that depends on the batch, without waiting for the device. Nothing in it
  // depends on n, so that a recording of one step serves all.
  void compute_step(const Batch& batch, const at::Generator& generator) {
    std::vector<Tensor> draws;
    {
      const at::NoGradGuard no_grad;
      draws = objective.draw(batch, generator);
    }
    Gradients gradients;
    const Tensor loss = forward_backward(batch, draws, gradients);
    const Tensor norm = optimizer.step(gradients);
    if (ema) ema->update();
    statistics.add(loss, norm);
  }

  void advance() {
    if (swapped) throw Error("Trainer::step: the averaged weights are in place; swap them back before training goes on");
    if (loader.position() != n)
      throw Error(fmt::format("step {}: the loader must be at batch {} (one batch a step), but is at {}", n + 1, n, loader.position()));
    optimizer.set_rate(rate(n));
    if (ema) ema->set_step(n);
    recorder.run(loader.next(), derive_seed(seed, Stream::levels, static_cast<uint64_t>(n)));
    // A recording changes weights without autograd's knowledge; whoever keeps something that follows from them must see that they changed.
    for (const Tensor& parameter : parameters) parameter.unsafeGetTensorImpl()->bump_version();
    statistics.count();
    ++n;
  }

  // Waits for the device; throws where a step since the last reset was not finite.
  StepStatistics::Summary checked() const {
    const auto summary = statistics.read();
    if (summary.finite == summary.steps) return summary;
    const int64_t bad = n - summary.steps + summary.finite;  // from 0
    throw Error(fmt::format(
        "step {}: training diverged: loss {}, gradient norm {}, learning rate {:.3g}. The weights are lost from this step on; earlier "
        "checkpoints are good. A lower learning_rate, a longer warmup, a smaller clip or precision: fp32 may help; if the loss is not "
        "finite in the first steps, look for NaN in the data",
        bad + 1, summary.loss, summary.norm, rate(bad)));
  }

  NamedTensors averaged() const {
    if (!ema) return {};
    NamedTensors full = all;  // buffers have no average: those of the model stand for them
    const std::map<std::string, Tensor> shadow(ema->shadow().begin(), ema->shadow().end());
    for (auto& [name, tensor] : full)
      if (const auto found = shadow.find(name); found != shadow.end()) tensor = found->second;
    return full;
  }
};

Trainer::Trainer(const TrainerConfig& config, NamedTensors parameters, Objective objective, Loader& loader, uint64_t seed,
                 at::Device device) {
  validate(config);
  NamedTensors trained;
  for (const auto& [name, tensor] : parameters) {
    if (tensor.device().type() != device.type())
      throw Error(fmt::format("parameter {}: expected on {}, got {}", name, device.str(), tensor.device().str()));
    if (tensor.requires_grad()) trained.emplace_back(name, tensor);
  }
  if (trained.empty()) throw Error("training: no parameter requires a gradient");
  state_ = std::make_unique<State>(config, std::move(parameters), std::move(trained), std::move(objective), loader, seed, device);
}

Trainer::~Trainer() = default;

double Trainer::step() {
  state_->advance();
  const auto summary = state_->checked();
  state_->statistics.reset();
  return summary.loss;
}

int64_t Trainer::steps_done() const { return state_->n; }

void Trainer::run(const fs::path& run, const TrainerHooks& hooks, const std::function<bool()>& stop) {
  State& s = *state_;
  const TrainerConfig& c = s.config;
  Rate rate;
  double seconds = 0.0;  // spent in steps
  rate.add(s.n, seconds);
  s.statistics.reset();
  const auto averaged = [&](const std::function<void(int64_t)>& hook) {
    if (!hook) return;
    struct Swap {
      Trainer& trainer;
      explicit Swap(Trainer& t) : trainer(t) { trainer.swap_ema(); }
      ~Swap() { trainer.swap_ema(); }
    } const swap(*this);
    hook(s.n);
  };
  while (s.n < c.steps) {
    const auto start = Clock::now();
    s.advance();
    const bool stopping = stop && stop(), last = s.n == c.steps, end = last || stopping;
    const auto due = [&](int64_t every) { return every > 0 && s.n % every == 0; };
    const bool report = due(c.log_every) || end, save = due(c.checkpoint_every) || end;
    StepStatistics::Summary summary;
    // On a CPU looking costs nothing. Elsewhere it would stall the device, so it waits until somebody wants to know.
    if (s.device.is_cpu() || report || save || due(c.validate_every) || due(c.sample_every)) summary = s.checked();
    seconds += std::chrono::duration<double>(Clock::now() - start).count();
    if (report) {
      rate.add(s.n, seconds);
      const double speed = rate.per_second();
      s.statistics.reset();
      if (hooks.on_report)
        hooks.on_report({s.n, summary.mean_loss, summary.mean_norm, s.rate(s.n - 1), speed,
                         speed > 0.0 ? static_cast<double>(c.steps - s.n) / speed : 0.0});
    }
    // Saved before the hooks run, which may take long or fail.
    if (save) {
      this->save(run);
      prune_checkpoints(run, c.keep_checkpoints);
    }
    if (!stopping && (due(c.validate_every) || (last && c.validate_every > 0))) averaged(hooks.on_validate);
    if (!stopping && (due(c.sample_every) || (last && c.sample_every > 0))) averaged(hooks.on_sample);
    if (end) return;
  }
}

void Trainer::save(const fs::path& run) const {
  const State& s = *state_;
  if (s.swapped) throw Error("Trainer::save: the averaged weights are in place; swap them back before saving");
  save_checkpoint(run, {s.n, s.all, s.averaged(), s.optimizer.state(), {{"seed", std::to_string(s.seed)}}});
}

void Trainer::load(const fs::path& checkpoint_folder) {
  State& s = *state_;
  if (s.swapped) throw Error("Trainer::load: the averaged weights are in place; swap them back before loading");
  const auto info = inspect_checkpoint(checkpoint_folder);
  const std::string place = checkpoint_folder.string(), seed = info.metadata.count("seed") ? info.metadata.at("seed") : "none";
  if (seed != std::to_string(s.seed)) throw Error(fmt::format("{}: seed: expected {} (of this run), got {}", place, s.seed, seed));
  if (s.loader.position() != info.step)
    throw Error(fmt::format("{}: the loader must start at batch {}, but is at {}", place, info.step, s.loader.position()));
  Checkpoint checkpoint{0, s.all, s.averaged(), {}, {}};
  load_checkpoint(checkpoint_folder, checkpoint);
  try {
    s.optimizer.load_state(checkpoint.trainer);
  } catch (const Error& error) {
    throw Error((checkpoint_folder / "trainer.safetensors").string() + ": " + error.what());
  }
  s.statistics.reset();
  s.n = info.step;
}

void Trainer::swap_ema() {
  if (!state_->ema) return;
  state_->ema->swap();
  state_->swapped = !state_->swapped;
}

}  // namespace df
