// SPDX-License-Identifier: MIT
// Training in C++ from parts of one's own: a data set and a model that the library does not know. The run folder is the one that df-train
// writes. examples/own_data.cpp does all of it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "diffusion_forcing/config/training_config.hpp"
#include "diffusion_forcing/core/team.hpp"
#include "diffusion_forcing/data/dataset.hpp"
#include "diffusion_forcing/diffusion/diffusion.hpp"
#include "diffusion_forcing/sampling/rollout.hpp"

namespace df {

class CausalModel;

// What a training is made of. The model and the diffusion move to the device on which they are used.
struct Parts {
  std::shared_ptr<const Dataset> train;
  std::shared_ptr<const Dataset> validation;  // null: the run neither validates nor shows samples
  std::shared_ptr<CausalModel> model;         // initialised by its maker
  Diffusion diffusion;                        // make_diffusion()
  RolloutConfig sampling;                     // of the sample videos of a run; kept in its config.yaml for whoever samples later
  std::string name = "own";                   // of the run folder
  uint64_t seed = 0;                          // order of the data, noise levels and noise follow from it
};

// What a training needs besides what it learns: where it writes, where it runs, how it goes on.
struct TrainOptions {
  std::filesystem::path out = {};   // run folder; empty: runs/<name>
  bool resume = false;              // go on from the newest checkpoint of `out`
  bool force = false;               // resume although what the run learns from has changed; run.json records each change
  std::filesystem::path init = {};  // weights alone to start from; empty: none
  std::string device = "auto";
  std::function<bool()> stop = {};  // asked after each step; true: save a checkpoint and return
  // Processes that train together: all make the same calls, each reads its share of every batch, and rank 0 alone writes the run folder.
  std::shared_ptr<const Team> team = alone();
};

// The diffusion forcing loss of the parts, with its draws of noise levels and noise: what a Trainer needs besides a Loader.
Objective diffusion_objective(const Parts& parts, const TrainingConfig& training);

// Trains, validates, logs and saves; returns the run folder:
//   config.yaml      name, seed, diffusion, training, sampling: complete
//   run.json         versions, device, what the data and the model were like, changes made by resumes
//   metrics.jsonl    one object a line: train/loss, val/loss, ...; the same for TensorBoard in events.out.tfevents.*
//   checkpoints/     step_<n>/, the newest training.keep_checkpoints
//   samples/         step_<n>.mp4, where tokens are frames of a video
// A resumed run equals an uninterrupted one, bitwise on a CPU. Throws ConfigError naming the key for values out of range and for a resume
// with other values than the run's (see TrainOptions::force), df::Error where the folder holds another run and resume was not asked for.
std::filesystem::path train(Parts& parts, const TrainingConfig& training, const TrainOptions& options);

// val/loss over training.validation_batches batches, with the same draws every time, and val/x0_error/<k over K>: the mean squared error
// of the clean prediction of the first batch with every token at level k. Of the weights as they are. parts.validation must be there.
std::map<std::string, double> validation_metrics(const Parts& parts, const TrainingConfig& training);

// Weights into parts.model, which is put into evaluation mode: from a run folder (its newest checkpoint), a step folder or a .safetensors
// file; averaged weights where there are any, unless `raw`. Returns the file read. Throws df::Error naming file and tensors that do not
// fit, and where parts.train is there and its tokens are not those of the run.
std::filesystem::path load_weights(Parts& parts, const std::filesystem::path& checkpoint, bool raw = false);

// What a training would cost: two steps are run, nothing is written.
struct DryRun {
  std::string data;  // one line about the data set
  DataSpec spec;
  int64_t parameters = 0;
  std::string device;         // description
  double step_seconds = 0.0;  // of the second step
  int64_t memory_bytes = 0;   // peak so far; 0 where unknown
  int64_t frames_per_step = 0;
  double loss = 0.0;  // of the first step
};
// Runs two steps. Throws as train() does.
DryRun dry_run(Parts& parts, const TrainingConfig& training, const std::string& device);

}  // namespace df
