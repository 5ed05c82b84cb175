// SPDX-License-Identifier: MIT
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "config/config_errors.hpp"
#include "diffusion_forcing/core/accelerator.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/maze2d/travel_map.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/procedures/procedures.hpp"
#include "procedures/model_weights.hpp"
#include "procedures/run_folder.hpp"
#include "procedures/session.hpp"

namespace df {

namespace fs = std::filesystem;

fs::path load_model_weights(const fs::path& checkpoint, const NamedTensors& weights, bool raw) {
  if (!fs::exists(checkpoint))
    throw Error(checkpoint.string() + ": not found; expected a run folder, a checkpoint folder or a .safetensors file");
  if (!fs::is_directory(checkpoint)) {
    load_weights(checkpoint, weights);
    return checkpoint;
  }
  fs::path folder = checkpoint;
  if (!fs::exists(folder / "manifest.json")) {
    const auto latest = latest_checkpoint(checkpoint);
    if (!latest) throw Error(checkpoint.string() + ": holds no complete checkpoint");
    folder = *latest;
  }
  const bool averaged = !raw && fs::exists(folder / "ema.safetensors");
  Checkpoint content{0, weights, {}, {}, {}};
  if (averaged)
    for (const auto& [name, tensor] : weights) content.ema.emplace_back(name, at::empty_like(tensor.detach()));
  load_checkpoint(folder, content);
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < content.ema.size(); ++i) weights[i].second.copy_(content.ema[i].second);
  return folder / (averaged ? "ema.safetensors" : "model.safetensors");
}

fs::path find_run(const fs::path& checkpoint) {
  std::error_code failed;
  for (fs::path folder = fs::absolute(checkpoint).lexically_normal();; folder = folder.parent_path()) {
    if (fs::exists(folder / "config.yaml", failed)) return folder;
    if (folder == folder.root_path()) break;
  }
  throw Error(checkpoint.string() + ": no config.yaml in it or in a folder above; name the experiment with --config");
}

TrainedModel load_trained(const fs::path& checkpoint, const fs::path& config, const std::string& device, bool raw,
                          const std::vector<std::string>& overrides) {
  if (!fs::exists(checkpoint))
    throw Error(checkpoint.string() + ": not found; expected a run folder, a checkpoint folder or a .safetensors file");
  TrainedModel trained;
  std::optional<DataSpec> spec;
  if (config.empty()) {
    const fs::path run = find_run(checkpoint);
    trained.config = load_experiment(run / "config.yaml", overrides);
    spec = read_data_spec(run);
  } else {
    trained.config = load_experiment(config, overrides);
  }
  validate(trained.config);
  const Accelerator& place = accelerator(device);
  with_config_errors([&] {
    trained.spec = spec ? *spec : make_dataset(trained.config.data, Split::validation)->spec();
    trained.model = make_model(trained.config.model, trained.spec.token, derive_seed(trained.config.seed, Stream::weights));
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
  const auto* data = std::get_if<Maze2dDataConfig>(&trained.config.data);
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

std::shared_ptr<const TravelMap> load_travel_map(const TrainedModel& trained) {
  const auto* config = trained.config.planning ? std::get_if<ForcingPlannerConfig>(&*trained.config.planning) : nullptr;
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
  else if (std::holds_alternative<Maze2dPathsConfig>(trained.config.data))
    config = DiffuserPlannerConfig{};
  const auto* network = std::get_if<MlpGruConfig>(&trained.config.model);
  if (std::holds_alternative<ForcingPlannerConfig>(config) && network && network->latent_init != LatentInit::encoded)
    throw ConfigError(fmt::format("{}: model.latent_init: expected encoded for a planner, whose plans start where the world is, got {}",
                                  trained.weights.string(), enum_name(network->latent_init)));
  return with_config_errors([&] {
    const PlannerModel model{*trained.model, trained.diffusion, trained.spec, trained.config.sampling,
                             trained.travel ? trained.travel : load_travel_map(trained)};
    return make_planner(config, model, std::move(observer));
  });
}

}  // namespace df
