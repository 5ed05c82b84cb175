// SPDX-License-Identifier: MIT
// One experiment, one YAML file, complete. Every program starts here.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/data/data.hpp"
#include "diffusion_forcing/diffusion/diffusion.hpp"
#include "diffusion_forcing/diffusion/loss.hpp"
#include "diffusion_forcing/models/model.hpp"
#include "diffusion_forcing/planning/planner.hpp"
#include "diffusion_forcing/sampling/rollout.hpp"
#include "diffusion_forcing/training/trainer.hpp"

namespace df {

// A fault of the experiment itself, found before any work is done: programs exit with 2.
class ConfigError : public Error {
 public:
  using Error::Error;
};

// What a training step keeps for its backward pass.
enum class Recompute {
  none,   // all activations
  token,  // the inputs of each token, whose activations are computed again: memory for time
};
template <>
struct EnumNames<Recompute> {
  static constexpr std::pair<std::string_view, Recompute> table[] = {{"none", Recompute::none}, {"token", Recompute::token}};
};

struct TrainingConfig {
  TrainingNoise noise = TrainingNoise::independent;
  int64_t context_tokens = 0;  // shared noise only: leading tokens that are clean in half of the sequences
  Recompute recompute = Recompute::none;
  TrainerConfig trainer;
  template <class V>
  void visit(V&& v) {
    v("noise", noise, "independent: diffusion forcing; shared: full-sequence diffusion; clean_history: teacher forcing");
    v("context_tokens", context_tokens, "shared noise only: leading tokens clean in half of the sequences");
    v("recompute", recompute, "token: activations are computed again in the backward pass, for long sequences");
    trainer.visit(v);
  }
};

struct ExperimentConfig {
  std::string name = "experiment";
  uint64_t seed = 0;
  DataConfig data;
  ModelConfig model;
  DiffusionConfig diffusion;
  TrainingConfig training;
  RolloutConfig sampling;
  std::optional<PlanningConfig> planning;  // how a model of trajectories is made to act; absent in other experiments
  template <class V>
  void visit(V&& v) {
    v("name", name, "of the run folder");
    v("seed", seed, "everything random follows from it");
    v("data", data, "");
    v("model", model, "");
    v("diffusion", diffusion, "");
    v("training", training, "");
    v("sampling", sampling, "");
    v("planning", planning, "");
  }
};

// Overrides "a.b=value" edit the YAML tree before it is read. Unknown, duplicate, missing-type and mistyped keys throw ConfigError:
// "configs/video.yaml:12: training.stepz: unknown key; known keys: ...". A key that is absent keeps its default. Ranges are checked by
// validate().
ExperimentConfig load_experiment(const std::filesystem::path& path, const std::vector<std::string>& overrides = {});
ExperimentConfig parse_experiment(const std::string& yaml, const std::string& name, const std::vector<std::string>& overrides = {});
// The complete file, with the meaning of each key as a comment. parse(dump(c)) equals c.
std::string dump_experiment(const ExperimentConfig& config);
// Ranges and rules across fields. Throws ConfigError naming the key, expected and got.
void validate(const ExperimentConfig& config);
// The path itself, or the file of that name among the installed configs.
std::filesystem::path find_config(const std::filesystem::path& name);

}  // namespace df
