// SPDX-License-Identifier: MIT
// The names that experiment files may use. A program of one's own adds its types beside ours:
//
//   df::Types types = df::builtin_types();
//   types.data.add<SineConfig>();
//   df::ExperimentConfig config = df::load_experiment("sine.yaml", {}, types);
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "diffusion_forcing/config/choice.hpp"
#include "diffusion_forcing/config/roles.hpp"

namespace df {

class TaskFamily;

// The lists of types by section.
struct Types {
  TypeList<DataRole> data;
  TypeList<ModelRole> models;
  TypeList<PlannerRole> planners;
  std::vector<std::shared_ptr<const TaskFamily>> tasks;  // that df-eval --task plays
};

// Those of this library; src/config/types.cpp has a line for each.
const Types& builtin_types();

// How a YamlReader reads a field that is a Choice.
inline void read_choice(const YamlTree& tree, const std::string& path, DataConfig& field, const Types& types) {
  field = types.data.read(tree, path, &types);
}
// The same for another section.
inline void read_choice(const YamlTree& tree, const std::string& path, ModelConfig& field, const Types& types) {
  field = types.models.read(tree, path, &types);
}
// The same for another section.
inline void read_choice(const YamlTree& tree, const std::string& path, PlanningConfig& field, const Types& types) {
  field = types.planners.read(tree, path, &types);
}

}  // namespace df
