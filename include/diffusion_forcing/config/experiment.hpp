// SPDX-License-Identifier: MIT
// One experiment, one YAML file, complete. Every program starts here.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "diffusion_forcing/config/training_config.hpp"
#include "diffusion_forcing/config/types.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/diffusion/diffusion.hpp"
#include "diffusion_forcing/maze_world/maze_video.hpp"
#include "diffusion_forcing/models/unet_gru.hpp"
#include "diffusion_forcing/sampling/rollout.hpp"

namespace df {

// A fault of the experiment itself, found before any work is done: programs exit with 2.
class ConfigError : public Error {
 public:
  using Error::Error;
};

// A whole experiment: the sections of its file.
struct ExperimentConfig {
  std::string name = "experiment";
  uint64_t seed = 0;
  DataConfig data = MazeVideoConfig{};
  ModelConfig model = UnetGruConfig{};
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
// validate(). `types` are the names that data.type, model.type and planning.type may have.
// A schedule file that the experiment names (sampling.schedule: mine.csv) is looked for beside the experiment file first, then in the
// working directory; one that an override names, in the working directory alone.
// An override of data.type keeps the sizes that the file gave (height, width, frames, frame_stack) where the new type has such keys.
ExperimentConfig load_experiment(const std::filesystem::path& path, const std::vector<std::string>& overrides = {},
                                 const Types& types = builtin_types());
// The same of YAML text; `name` stands for the file in messages.
ExperimentConfig parse_experiment(const std::string& yaml, const std::string& name, const std::vector<std::string>& overrides = {},
                                  const Types& types = builtin_types());
// The complete file, with the meaning of each key as a comment. parse(dump(c)) equals c.
std::string dump_experiment(const ExperimentConfig& config);
// Ranges and rules across fields. Throws ConfigError naming the key, expected and got.
void validate(const ExperimentConfig& config);
// The same for the sections that a run of one's own parts has (procedures/parts.hpp).
void validate(const std::string& name, const DiffusionConfig& diffusion, const TrainingConfig& training, const RolloutConfig& sampling);
// The path itself, or the file of that name among the installed configs.
std::filesystem::path find_config(const std::filesystem::path& name);

}  // namespace df
