// SPDX-License-Identifier: MIT
// The whole measurement of one video model on held-out sequences, in streams: rollouts of any length, any number of sequences.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "diffusion_forcing/data/dataset.hpp"
#include "diffusion_forcing/evaluation/likelihood.hpp"
#include "diffusion_forcing/evaluation/report.hpp"
#include "diffusion_forcing/sampling/rollout.hpp"

namespace df {

// What is rolled out and measured.
struct EvaluationConfig {
  int64_t sequences = 8;
  int64_t frames = 1000;             // generated, after the context
  int64_t context = 36;              // true frames shown first
  int64_t batch = 8;                 // sequences rolled out together
  int64_t window = 50;               // frames of a point of a curve
  int64_t replicates = 200;          // of the bootstrap
  int64_t likelihood_sequences = 8;  // of the training length; 0: no likelihood
  LikelihoodConfig likelihood;
  uint64_t seed = 0;
};
// Throws df::Error naming the field; frames and context must be whole tokens, and the data set large enough for the sequences and as many
// others.
void validate(const EvaluationConfig& config, const DataSpec& spec, const Dataset& data);

// A model to be measured, and how it samples.
struct Subject {
  std::string name;
  CausalModel& model;
  Diffusion diffusion;
  DataSpec spec;
  RolloutConfig rollout;
};

// Frames [N, 3, H, W] uint8 of a sequence, in order.
using FrameSink = std::function<void(int64_t sequence, const Tensor& frames)>;
using EvaluationProgress = std::function<void(double fraction)>;

// Held-out clips number sequences .. 2 sequences - 1: what generated frames should look like as a set. Context is left out.
WindowSums reference_frames(const Dataset& data, const EvaluationConfig& config);
// The true futures of sequences 0 .. sequences - 1 against the reference: what a perfect model would get.
RunReport evaluate_truth(const Dataset& data, const WindowSums& reference, const EvaluationConfig& config, const FrameSink& sink = {});
// Rollouts from the context of sequences 0 .. sequences - 1, with their actions where the model takes any.
RunReport evaluate_model(const Subject& subject, const Dataset& data, const WindowSums& reference, const EvaluationConfig& config,
                         const FrameSink& sink = {}, const EvaluationProgress& progress = {});

}  // namespace df
