// SPDX-License-Identifier: MIT
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "config/config_errors.hpp"
#include "diffusion_forcing/core/accelerator.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/maze2d/maze2d_data.hpp"
#include "diffusion_forcing/maze2d/maze2d_paths.hpp"
#include "diffusion_forcing/maze2d/travel_map.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/models/mlp_gru.hpp"
#include "diffusion_forcing/planning/diffuser_planner.hpp"
#include "diffusion_forcing/planning/forcing_planner.hpp"
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

namespace {

// A plan read with other units than those of the training would be nonsense without a sign of it.
void check_normalizer(const TrainedModel& trained) {
  const auto* data = trained.config.data.get_if<Maze2dDataConfig>();
  const auto expected = data ? known_normalizer(*data) : std::nullopt;
  if (!expected) return;
  const auto equal = [](const std::vector<double>& a, const std::vector<double>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](double x, double y) { return std::abs(x - y) <= 1e-9 * (1 + std::abs(x)); });
  };
  const auto check = [&](const char* what, const std::vector<double>& of_config, const std::vector<double>& of_run) {
    if (!equal(of_config, of_run))
      throw ConfigError(fmt::format("{}: trained with the {} [{}] of a frame; expected those of data.task and data.normalizer, [{}]",
                                    trained.weights.string(), what, fmt::join(of_run, ", "), fmt::join(of_config, ", ")));
  };
  check("means", expected->mean, trained.spec.frame_mean);
  check("deviations", expected->std, trained.spec.frame_std);
}

}  // namespace

const Maze2dSource* maze2d_source(const DataConfig& config) {
  if (const auto* windows = config.get_if<Maze2dDataConfig>()) return windows;
  return config.get_if<Maze2dPathsConfig>();
}

std::shared_ptr<const TravelMap> load_travel_map(const TrainedModel& trained) {
  const auto* config = trained.config.planning ? trained.config.planning->get_if<ForcingPlannerConfig>() : nullptr;
  const auto data = maze2d_source(trained.config.data);
  if (!config || !data || (config->reward.metric != PlanMetric::travel && config->choice.metric != PlanMetric::travel)) return nullptr;
  return with_config_errors([&] { return std::make_shared<const TravelMap>(load_maze2d(*data).observations); });
}

std::unique_ptr<Policy> make_planner(const TrainedModel& trained, PlanObserver observer) {
  check_normalizer(trained);
  if (!maze2d_source(trained.config.data))
    throw ConfigError(trained.weights.string() +
                      ": expected a model of trajectories (data.type maze2d or maze2d_paths) for a planner, got other data");
  PlanningConfig config = ForcingPlannerConfig{};
  if (trained.config.planning)
    config = *trained.config.planning;
  else if (trained.config.data.get_if<Maze2dPathsConfig>())
    config = DiffuserPlannerConfig{};
  const auto* network = trained.config.model.get_if<MlpGruConfig>();
  if (config.get_if<ForcingPlannerConfig>() && network && network->latent_init != LatentInit::encoded)
    throw ConfigError(fmt::format("{}: model.latent_init: expected encoded for a planner, whose plans start where the world is, got {}",
                                  trained.weights.string(), enum_name(network->latent_init)));
  return with_config_errors([&] {
    const PlannerModel model{*trained.model, trained.diffusion, trained.spec, trained.config.sampling,
                             trained.travel ? trained.travel : load_travel_map(trained)};
    return make_planner(config, model, std::move(observer));
  });
}

}  // namespace df
