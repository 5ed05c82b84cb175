// SPDX-License-Identifier: MIT
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <string>
#include <utility>
#include <vector>

#include "config/config_errors.hpp"
#include "diffusion_forcing/core/accelerator.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/planning/planner_model.hpp"
#include "diffusion_forcing/procedures/procedures.hpp"
#include "procedures/chosen_device.hpp"
#include "procedures/initial_model.hpp"
#include "procedures/model_weights.hpp"
#include "procedures/run_folder.hpp"

namespace df {

namespace fs = std::filesystem;

TrainedModel load_trained(const fs::path& checkpoint, const fs::path& config, const std::string& device, bool raw,
                          const std::vector<std::string>& overrides, const Types& types) {
  if (!fs::exists(checkpoint))
    throw Error(checkpoint.string() + ": not found; expected a run folder, a checkpoint folder or a .safetensors file");
  TrainedModel trained;
  std::optional<DataSpec> spec;
  if (config.empty()) {
    const fs::path run = find_run(checkpoint);
    if (const auto own = read_own_parts(run); !own.empty())
      throw ConfigError(
          fmt::format("{}: was trained by a program of its own (data: {}; model: {}), which alone can make its model again: "
                      "load it there with df::load_weights(parts, run)",
                      run.string(), own.count("data") ? own.at("data") : "?", own.count("model") ? own.at("model") : "?"));
    trained.config = load_experiment(run / "config.yaml", overrides, types);
    spec = read_data_spec(run);
  } else {
    trained.config = load_experiment(config, overrides, types);
  }
  validate(trained.config);
  const Accelerator& place = chosen_device(device);
  with_config_errors([&] {
    trained.spec = spec ? *spec : make_dataset(trained.config.data, Split::validation)->spec();
    trained.model = initial_model(trained.config, trained.spec.token);
  });
  trained.weights = load_model_weights(checkpoint, named_tensors(*trained.model), raw);
  trained.model->to(place.device());
  trained.model->eval();
  for (auto& parameter : trained.model->parameters()) parameter.requires_grad_(false);
  trained.diffusion = make_diffusion(trained.config.diffusion).to(place.device());
  return trained;
}

std::shared_ptr<const PlanningDomain> planning_domain(const TrainedModel& trained) {
  if (auto domain = with_config_errors([&] { return trained.config.data->planning_domain(); })) return domain;
  std::vector<std::string> known;
  for (const auto& type : builtin_types().data.names())
    if ((*builtin_types().data.find(type))->planning_domain()) known.push_back(type);
  throw ConfigError(fmt::format("{}: expected a model of trajectories (data.type {}) for a planner, got other data",
                                trained.weights.string(), fmt::join(known, " or ")));
}

std::unique_ptr<Policy> make_planner(const TrainedModel& trained, PlanObserver observer) {
  const auto domain = trained.domain ? trained.domain : planning_domain(trained);
  const auto init = trained.config.model->latent_init();
  return with_config_errors([&] {
    domain->check(trained.spec, trained.weights.string());
    if (init && *init != LatentInit::encoded)
      throw Error(fmt::format("{}: model.latent_init: expected encoded for a planner, whose plans start where the world is, got {}",
                              trained.weights.string(), enum_name(*init)));
    const PlanningConfig config =
        trained.config.planning ? *trained.config.planning : *builtin_types().planners.find(domain->usual_planner());
    return config->policy({*trained.model, trained.diffusion, trained.spec, trained.config.sampling, domain}, std::move(observer));
  });
}

}  // namespace df
