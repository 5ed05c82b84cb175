// SPDX-License-Identifier: MIT
#include "diffusion_forcing/training/trainer.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <deque>

#include "core/require.hpp"
#include "diffusion_forcing/core/accelerator.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/data/loader.hpp"
#include "diffusion_forcing/training/ema.hpp"
#include "training/batch_gradient.hpp"
#include "training/step_recorder.hpp"
#include "training/step_statistics.hpp"

namespace df {

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

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

// Sequences that a rank needs, one for each part that its batch is computed in.
int64_t parts_of(const TrainerConfig& config) { return config.accumulate * std::max<int64_t>(1, config.cpu_workers); }

void check_loader(const LoaderConfig& loader, const TrainerConfig& config, const Team& team) {
  if (loader.rank != team.rank() || loader.ranks != team.size())
    throw Error(fmt::format("loader: expected the rows of rank {} of {}, got those of rank {} of {}", team.rank(), team.size(), loader.rank,
                            loader.ranks));
  if (!team.alone() && loader.batch / team.size() < parts_of(config))
    throw Error(fmt::format("batch: expected at least {} sequences, accumulate x cpu_workers = {} for each of {} ranks, got {}",
                            team.size() * parts_of(config), parts_of(config), team.size(), loader.batch));
}

std::vector<Tensor> without_gradient(const NamedTensors& named) {
  std::vector<Tensor> tensors;
  for (const auto& [name, tensor] : named) tensors.push_back(tensor.detach());
  return tensors;
}

}  // namespace

void validate(const TrainerConfig& c, const std::string& section) {
  const Require require(section);
  require.at_least("steps", c.steps, 1);
  require.at_least("batch", c.batch, 1);
  require.at_least("accumulate", c.accumulate, 1);
  require.at_least("cpu_workers", c.cpu_workers, 0);
  require.at_least("loader_workers", c.loader_workers, 0);
  require.at_least("log_every", c.log_every, 1);
  require.at_least("validate_every", c.validate_every, 0);
  require.at_least("validation_batches", c.validation_batches, 1);
  require.at_least("sample_every", c.sample_every, 0);
  require.at_least("checkpoint_every", c.checkpoint_every, 0);
  require.at_least("keep_checkpoints", c.keep_checkpoints, 0);
  const int64_t parts = parts_of(c);
  require(c.batch >= parts, "batch", fmt::format("at least accumulate x cpu_workers = {} sequences, one a part", parts), c.batch);
  require(c.ema >= 0.0 && c.ema < 1.0, "ema", "0 (none) or a decay below 1", c.ema);
  validate(c.optimizer, section);
}

struct Trainer::State {
  TrainerConfig config;
  std::shared_ptr<const Team> team;
  NamedTensors all, trained;
  Loader& loader;
  uint64_t seed;
  at::Device device;
  const Accelerator& accelerator;
  AdamW optimizer;
  std::optional<Ema> ema;
  BatchGradient gradient;
  StepStatistics statistics;
  StepRecorder recorder;
  int64_t n = 0;  // optimiser steps done
  bool swapped = false;

  State(const TrainerConfig& config_, NamedTensors all_, NamedTensors trained_, Objective objective_, Loader& loader_, uint64_t seed_,
        at::Device device_, std::shared_ptr<const Team> team_)
      : config(config_),
        team(std::move(team_)),
        all(std::move(all_)),
        trained(std::move(trained_)),
        loader(loader_),
        seed(seed_),
        device(device_),
        accelerator(df::accelerator(device.str())),
        optimizer(config.optimizer, trained),
        gradient(config, trained, std::move(objective_), device, team, loader.config().batch),
        statistics(device),
        recorder(
            accelerator, [this](const Batch& batch, const at::Generator& generator) { compute_step(batch, generator); },
            team->can_record() ? "" : "the team's sums cannot be recorded") {
    if (config.ema > 0.0) ema.emplace(config.ema, trained);
  }

  double rate(int64_t step) const { return learning_rate(config.optimizer, step, config.steps); }

  // Draw, forward, backward, sum over the team, clip, AdamW, EMA: everything that depends on the batch, without waiting for the device.
  // Nothing in it depends on n, so that a recording of one step serves all.
  void compute_step(const Batch& batch, const at::Generator& generator) {
    auto [loss, gradients] = gradient(batch, generator);
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
    for (const auto& [name, parameter] : trained) parameter.unsafeGetTensorImpl()->bump_version();
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

  void save(const fs::path& run) const {
    if (swapped) throw Error("Trainer::save: the averaged weights are in place; swap them back before saving");
    save_checkpoint(run, {n, all, averaged(), optimizer.state(), {{"seed", std::to_string(seed)}}});
  }

  void check_position(const std::string& place, int64_t step) const {
    if (loader.position() != step)
      throw Error(fmt::format("{}: the loader must start at batch {}, but is at {}", place, step, loader.position()));
  }

  void load(const fs::path& folder) {
    if (swapped) throw Error("Trainer::load: the averaged weights are in place; swap them back before loading");
    const auto info = inspect_checkpoint(folder);
    const std::string place = folder.string(), saved_seed = info.metadata.count("seed") ? info.metadata.at("seed") : "none";
    if (saved_seed != std::to_string(seed))
      throw Error(fmt::format("{}: seed: expected {} (of this run), got {}", place, seed, saved_seed));
    check_position(place, info.step);
    Checkpoint checkpoint{0, all, averaged(), {}, {}};
    load_checkpoint(folder, checkpoint);
    try {
      optimizer.load_state(checkpoint.trainer);
    } catch (const Error& error) {
      throw Error((folder / "trainer.safetensors").string() + ": " + error.what());
    }
    n = info.step;
  }

  // What rank 0 has loaded, to all ranks.
  void share_loaded(const std::string& place) {
    const Tensor step = at::full({1}, n, at::kLong);
    auto moments = optimizer.state();
    std::vector<Tensor> tensors = without_gradient(all);
    tensors.push_back(step);
    for (const auto& [name, tensor] : moments) tensors.push_back(tensor);
    if (ema)
      for (const auto& [name, tensor] : ema->shadow()) tensors.push_back(tensor);
    team->broadcast(tensors, 0);
    optimizer.load_state(moments);
    n = step.item<int64_t>();
    team->together([&] { check_position(place, n); });
  }
};

Trainer::Trainer(const TrainerConfig& config, NamedTensors parameters, Objective objective, Loader& loader, uint64_t seed,
                 at::Device device, std::shared_ptr<const Team> team) {
  validate(config, "TrainerConfig");
  check_loader(loader.config(), config, *team);
  team->check_same("seed", static_cast<int64_t>(seed));
  team->check_same("sequences of a batch", loader.config().batch);
  NamedTensors trained;
  for (const auto& [name, tensor] : parameters) {
    if (tensor.device().type() != device.type())
      throw Error(fmt::format("parameter {}: expected on {}, got {}", name, device.str(), tensor.device().str()));
    if (tensor.requires_grad()) trained.emplace_back(name, tensor);
  }
  if (trained.empty()) throw Error("training: no parameter requires a gradient");
  team->broadcast(without_gradient(parameters), 0);
  state_ = std::make_unique<State>(config, std::move(parameters), std::move(trained), std::move(objective), loader, seed, device,
                                   std::move(team));
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
  const Team& team = *s.team;
  Rate rate;
  double seconds = 0.0;  // spent in steps
  rate.add(s.n, seconds);
  s.statistics.reset();
  const auto due = [&](int64_t every) { return every > 0 && (s.n % every == 0 || s.n == c.steps); };
  if (s.n > 0)
    team.together([&] {
      if (!team.first()) return;
      if (due(c.validate_every) && hooks.validated && !hooks.validated(s.n)) call_averaged(hooks.on_validate);
      if (due(c.sample_every) && hooks.sampled && !hooks.sampled(s.n)) call_averaged(hooks.on_sample);
    });
  while (s.n < c.steps) {
    const auto start = Clock::now();
    s.advance();
    const bool stopping = team.any(stop && stop()), end = s.n == c.steps || stopping;
    const bool report = due(c.log_every) || end, save = due(c.checkpoint_every) || end;
    const bool validate = due(c.validate_every) && !stopping, sample = due(c.sample_every) && !stopping;
    StepStatistics::Summary summary;
    // On a CPU looking costs nothing. Elsewhere it would stall the device, so it waits until somebody wants to know.
    if (s.device.is_cpu() || report || save || validate || sample) summary = s.checked();
    seconds += std::chrono::duration<double>(Clock::now() - start).count();
    if (report) {
      rate.add(s.n, seconds);
      s.statistics.reset();
    }
    if (report || save || validate || sample)
      team.together([&] {
        if (!team.first()) return;
        const double speed = rate.per_second(), left = static_cast<double>(c.steps - s.n);
        if (report && hooks.on_report)
          hooks.on_report({s.n, summary.mean_loss, summary.mean_norm, s.rate(s.n - 1), speed, speed > 0.0 ? left / speed : 0.0});
        // Saved before the step is validated and sampled, which may take long or fail.
        if (save) {
          s.save(run);
          prune_checkpoints(run, c.keep_checkpoints);
        }
        if (validate) call_averaged(hooks.on_validate);
        if (sample) call_averaged(hooks.on_sample);
      });
    if (end) return;
  }
}

void Trainer::call_averaged(const std::function<void(int64_t step)>& hook) {
  if (!hook) return;
  struct Swap {
    Trainer& trainer;
    explicit Swap(Trainer& t) : trainer(t) { trainer.swap_ema(); }
    ~Swap() { trainer.swap_ema(); }
  } const swap(*this);
  hook(state_->n);
}

void Trainer::save(const fs::path& run) const {
  state_->team->together([&] {
    if (state_->team->first()) state_->save(run);
  });
}

void Trainer::load(const fs::path& checkpoint_folder) {
  State& s = *state_;
  const Team& team = *s.team;
  team.together([&] {
    if (team.first()) s.load(checkpoint_folder);
  });
  if (!team.alone()) s.share_loaded(checkpoint_folder.string());
  s.statistics.reset();
}

void Trainer::swap_ema() {
  if (!state_->ema) return;
  state_->ema->swap();
  state_->swapped = !state_->swapped;
}

}  // namespace df
