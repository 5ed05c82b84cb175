// SPDX-License-Identifier: MIT
#include "procedures/run_folder.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/version.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "config/yaml_tree.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/core/version.hpp"
#include "diffusion_forcing/training/checkpoint.hpp"

namespace df {

namespace {

bool may_change(const std::string& key) {
  static const std::set<std::string> free = {"name",
                                             "training.steps",
                                             "training.loader_workers",
                                             "training.log_every",
                                             "training.validate_every",
                                             "training.validation_batches",
                                             "training.sample_every",
                                             "training.checkpoint_every",
                                             "training.keep_checkpoints"};
  return free.count(key) > 0 || key.rfind("sampling.", 0) == 0 || key.rfind("planning.", 0) == 0;
}

std::map<std::string, std::string> keys_of(const ExperimentConfig& config) {
  const auto flat = flatten(parse_yaml(dump_experiment(config), "config"));
  return {flat.begin(), flat.end()};
}

}  // namespace

std::vector<std::string> differences(const ExperimentConfig& there, const ExperimentConfig& here) {
  const auto old_keys = keys_of(there);
  auto new_keys = keys_of(here);
  std::vector<std::string> all;
  for (const auto& [key, value] : old_keys) {
    const auto found = new_keys.find(key);
    const std::string now = found == new_keys.end() ? "absent" : found->second;
    if (now != value && !may_change(key)) all.push_back(fmt::format("{}: {} there, {} here", key, value, now));
    new_keys.erase(key);
  }
  for (const auto& [key, value] : new_keys)
    if (!may_change(key)) all.push_back(fmt::format("{}: absent there, {} here", key, value));
  return all;
}

std::optional<fs::path> check_run_folder(const fs::path& run, const ExperimentConfig& config, bool resume) {
  std::error_code ignored;
  if (fs::exists(run, ignored) && !fs::is_directory(run, ignored)) throw Error(run.string() + ": expected a run folder, got a file");
  const fs::path yaml = run / "config.yaml";
  if (!resume) {
    if (fs::exists(run) && !fs::is_empty(run))
      throw Error(
          run.string() +
          ": expected a new or empty folder, got one with files in it; --resume goes on with the run there, --out names another folder");
    return std::nullopt;
  }
  if (!fs::exists(yaml)) throw Error(run.string() + ": nothing to resume: config.yaml is not there");
  const auto changed = differences(load_experiment(yaml), config);
  if (!changed.empty())
    throw ConfigError(fmt::format("{}: the run has another configuration: {}", yaml.string(), fmt::join(changed, "; ")));
  return latest_checkpoint(run);
}

void write_run_folder(const fs::path& run, const ExperimentConfig& config, const DataSpec& spec, const std::string& device) {
  write_atomically(run / "config.yaml", dump_experiment(config));
  const nlohmann::ordered_json json = {{"diffusion_forcing", version()},
                                       {"commit", commit()},
                                       {"libtorch", TORCH_VERSION},
                                       {"device", device},
                                       {"data",
                                        {{"token_shape", spec.token.token_shape},
                                         {"condition_dim", spec.token.condition_dim},
                                         {"init_shape", spec.token.init_shape},
                                         {"frame_stack", spec.token.frame_stack},
                                         {"tokens", spec.tokens},
                                         {"mean", spec.mean},
                                         {"std", spec.std},
                                         {"frame_mean", spec.frame_mean},
                                         {"frame_std", spec.frame_std}}}};
  write_atomically(run / "run.json", json.dump(2) + "\n");
}

std::optional<DataSpec> read_data_spec(const fs::path& run) {
  const fs::path path = run / "run.json";
  if (!fs::exists(path)) return std::nullopt;
  try {
    const auto data = nlohmann::json::parse(read_file(path)).at("data");
    DataSpec spec;
    data.at("token_shape").get_to(spec.token.token_shape);
    data.at("condition_dim").get_to(spec.token.condition_dim);
    data.at("init_shape").get_to(spec.token.init_shape);
    data.at("frame_stack").get_to(spec.token.frame_stack);
    data.at("tokens").get_to(spec.tokens);
    data.at("mean").get_to(spec.mean);
    data.at("std").get_to(spec.std);
    spec.frame_mean = data.value("frame_mean", std::vector<double>{});  // not in runs of earlier versions
    spec.frame_std = data.value("frame_std", std::vector<double>{});
    return spec;
  } catch (const nlohmann::json::exception& error) {
    throw Error(path.string() + ": damaged: " + error.what());
  }
}

}  // namespace df
