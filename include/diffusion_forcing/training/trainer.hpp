// SPDX-License-Identifier: MIT
// The training loop: it owns optimiser, EMA, order of the data, checkpoints and logs, and knows nothing of diffusion.
#pragma once

#include <ATen/core/Generator.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "diffusion_forcing/core/precision.hpp"
#include "diffusion_forcing/core/team.hpp"
#include "diffusion_forcing/data/dataset.hpp"
#include "diffusion_forcing/training/checkpoint.hpp"
#include "diffusion_forcing/training/optimizer.hpp"

namespace df {

class Loader;
class MetricLog;

// The trainer's keys of the section `training`.
struct TrainerConfig {
  int64_t steps = 1000;                   // optimiser steps
  int64_t batch = 32;                     // sequences a step, over all ranks and accumulation parts
  int64_t accumulate = 1;                 // parts that a step's batch is computed in, one after the other
  int64_t cpu_workers = 0;                // threads that share a batch on the CPU, one intra-op thread each; 0: one worker, all threads
  int64_t loader_workers = 1;             // threads that prepare batches
  Precision precision = Precision::fp32;  // bf16: autocast of the forward pass
  OptimizerConfig optimizer;
  double ema = 0.999;            // decay, 0: none
  int64_t log_every = 20;        // steps
  int64_t validate_every = 500;  // steps, 0: never
  int64_t validation_batches = 4;
  int64_t sample_every = 0;         // steps between sample videos in the log, 0: never
  int64_t checkpoint_every = 1000;  // steps, 0: only at the end
  int64_t keep_checkpoints = 2;     // newest, 0: all
  template <class V>
  void visit(V&& v) {
    v("steps", steps, "optimiser steps");
    v("batch", batch, "sequences a step");
    v("accumulate", accumulate, "parts a batch is computed in");
    v("cpu_workers", cpu_workers, "threads that share a batch on the CPU, 0: intra-op threads instead");
    v("loader_workers", loader_workers, "threads that prepare batches");
    v("precision", precision, "of the forward pass");
    optimizer.visit(v);
    v("ema", ema, "decay of the averaged weights, 0: none");
    v("log_every", log_every, "steps between lines of metrics.jsonl");
    v("validate_every", validate_every, "steps between validations, 0: never");
    v("validation_batches", validation_batches, "batches of a validation");
    v("sample_every", sample_every, "steps between sample videos, 0: never");
    v("checkpoint_every", checkpoint_every, "steps between checkpoints, 0: only at the end");
    v("keep_checkpoints", keep_checkpoints, "newest checkpoints kept, 0: all");
  }
};
// Throws df::Error naming "<section>.<key>" for values out of range.
void validate(const TrainerConfig& config, const std::string& section = "training");

// What is learned. Draws are made for the whole batch at once and then sliced with it along the first dimension, so that neither
// accumulation, nor workers, nor the number of ranks change them.
struct Objective {
  // Follows from the batch's sizes and the generator alone: a rank of a team has only its own sequences, and is shown a batch of the whole
  // size in which its first one stands for all.
  std::function<std::vector<Tensor>(const Batch& batch, at::Generator generator)> draw;
  // Mean loss (scalar) of a batch, or of a part of it, with its draws.
  std::function<Tensor(const Batch& batch, const std::vector<Tensor>& draws)> loss;
};

// How training goes: what is logged every `log_every` steps.
struct StepReport {
  int64_t step = 0;               // steps done, this one included
  double loss = 0.0;              // mean over the steps since the last report
  double gradient_norm = 0.0;     // before clipping; mean likewise
  double rate = 0.0;              // learning rate of this step
  double steps_per_second = 0.0;  // of the last reports; time spent in hooks and on checkpoints does not count
  double seconds_left = 0.0;
};

// Called on rank 0 alone, while the others wait.
struct TrainerHooks {
  std::function<void(const StepReport&)> on_report;  // every log_every steps and after the last one
  std::function<void(int64_t step)> on_validate;     // every validate_every steps and after the last one; averaged weights are in place
  std::function<void(int64_t step)> on_sample;       // likewise, every sample_every steps
  // Whether this was done at the step that a run goes on from. A step's checkpoint is saved before the step is validated and sampled, so
  // that a process that is killed or stopped in between leaves it undone, and the next one makes up for it first. Empty: it was done.
  std::function<bool(int64_t step)> validated, sampled;
};

// On a device that has streams, the thread that makes a trainer works on the accelerator's own stream while the trainer lives
// (Accelerator::use_stream): a step may be recorded only there. Threads that share the model meanwhile must do the same.
//
// The ranks of a team make the same calls with the same configuration, parameters of the same shapes, seed and files. Each computes its
// rows of every batch; gradients and losses are summed, so that all weights stay the same, and are what one process would get, to rounding.
// Rank 0 alone writes files. A team of one is a process without a team, bit for bit.
class Trainer {
 public:
  // `parameters` are those of the model that the objective runs, on `device`: the ones that require a gradient are trained, the
  // others (buffers) only saved. Parameters that the loss does not depend on stay as they are. All ranks start with those of rank 0. The
  // loader must give this rank's rows (LoaderConfig::rank, ranks).
  Trainer(const TrainerConfig& config, NamedTensors parameters, Objective objective, Loader& loader, uint64_t seed, at::Device device,
          std::shared_ptr<const Team> team = df::alone());
  ~Trainer();
  // One optimiser step. Returns the loss. Throws df::Error naming step and cause where loss or gradient are not finite.
  double step();
  int64_t steps_done() const;
  // From steps_done() to config.steps: reports, validates, saves to `run`. `stop` is asked after each step (signals): true on any rank
  // saves a checkpoint and returns. A loss or gradient that is not finite ends the run with a df::Error before anything more is saved.
  void run(const std::filesystem::path& run, const TrainerHooks& hooks, const std::function<bool()>& stop = {});
  void save(const std::filesystem::path& run) const;
  // Everything that the next step depends on; the number of ranks may be another one than before. The loader must start at batch
  // inspect_checkpoint(folder).step, and the seed must be that of the checkpoint; df::Error otherwise. Rank 0 alone reads the files.
  void load(const std::filesystem::path& checkpoint_folder);
  // Exchanges weights and averages; no effect without EMA.
  void swap_ema();

 private:
  void call_averaged(const std::function<void(int64_t step)>& hook);  // with the averaged weights in place
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace df
