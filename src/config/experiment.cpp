// SPDX-License-Identifier: MIT
#include "diffusion_forcing/config/experiment.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cctype>

#include "config/config_errors.hpp"
#include "config/schedule_file.hpp"
#include "diffusion_forcing/config/yaml_config.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/file.hpp"

namespace df {

namespace {

// Sizes of a clip, which most data sets have under the same names.
constexpr const char* kept_sizes[] = {"height", "width", "frames", "frame_stack"};

// Another data.type would start from its own defaults alone: 64 x 64 where the experiment was for 32 x 32.
void change_data_type(YamlTree& root, const std::string& assignment, const Types& types) {
  const YamlTree* section = root.find("data");
  const YamlTree before = section ? *section : YamlTree{};
  apply_override(root, assignment);
  YamlTree& data = *root.find("data");
  const YamlTree* type = data.find("type");
  const DataConfig* known = type ? types.data.find(type->scalar) : nullptr;
  if (!known || data.entries.size() != 1 || before.entries.empty()) return;
  YamlDumper dumper;
  known->dump(dumper);
  const YamlTree defaults = parse_yaml(dumper.str(), "defaults");
  std::string kept;
  for (const char* key : kept_sizes) {
    const YamlTree* value = before.find(key);
    if (!value || !defaults.find(key)) continue;
    data.entries.emplace_back(key, *value);
    kept += fmt::format("{}{} {}", kept.empty() ? "" : ", ", key, value->scalar);
  }
  if (!kept.empty()) spdlog::info("data.type={}: keeps {} of the experiment; its other keys have their defaults", type->scalar, kept);
}

// A schedule file beside the experiment file is found from any working directory.
void find_schedule(YamlTree& root, const std::filesystem::path& folder) {
  YamlTree* sampling = root.find("sampling");
  YamlTree* schedule = sampling ? sampling->find("schedule") : nullptr;
  if (!schedule || schedule->kind != YamlTree::Kind::scalar || schedule->where == command_line || folder.empty()) return;
  const auto file = schedule_file(schedule->scalar);
  std::error_code ignored;
  if (file && file->is_relative() && std::filesystem::is_regular_file(folder / *file, ignored))
    schedule->scalar = (folder / *file).string();
}

ExperimentConfig parse(const std::string& yaml, const std::string& name, const std::filesystem::path& folder,
                       const std::vector<std::string>& overrides, const Types& types) {
  YamlTree root = parse_yaml(yaml, name);
  for (const auto& assignment : overrides) {
    if (assignment.rfind("data.type=", 0) == 0)
      change_data_type(root, assignment, types);
    else
      apply_override(root, assignment);
  }
  find_schedule(root, folder);
  ExperimentConfig config;
  read_config(root, config, &types);
  return config;
}

}  // namespace

ExperimentConfig load_experiment(const std::filesystem::path& path, const std::vector<std::string>& overrides, const Types& types) {
  return with_config_errors([&] {
    const std::filesystem::path found = find_config(path);
    return parse(read_file(found), found.string(), found.parent_path(), overrides, types);
  });
}

ExperimentConfig parse_experiment(const std::string& yaml, const std::string& name, const std::vector<std::string>& overrides,
                                  const Types& types) {
  return with_config_errors([&] { return parse(yaml, name, {}, overrides, types); });
}

std::string dump_experiment(const ExperimentConfig& config) { return dump_config(config); }

void validate(const std::string& name, const DiffusionConfig& diffusion, const TrainingConfig& training, const RolloutConfig& sampling) {
  with_config_errors([&] {
    const auto unfit = [](char c) { return !std::isalnum(static_cast<unsigned char>(c)) && c != '_' && c != '-' && c != '.'; };
    if (name.empty() || name[0] == '.' || std::find_if(name.begin(), name.end(), unfit) != name.end())
      throw Error(fmt::format("name: expected a folder name of letters, digits, '_', '-' and '.', got '{}'", name));
    make_diffusion(diffusion);
    if (training.context_tokens < 0)
      throw Error(fmt::format("training.context_tokens: expected 0 or more, got {}", training.context_tokens));
    if (training.context_tokens > 0 && training.noise != TrainingNoise::shared)
      throw Error(fmt::format("training.context_tokens: expected 0 where training.noise is {}, got {}", enum_name(training.noise),
                              training.context_tokens));
    validate(training.trainer);
    validate(sampling, diffusion.levels);
  });
}

void validate(const ExperimentConfig& config) {
  validate(config.name, config.diffusion, config.training, config.sampling);
  with_config_errors([&] {
    config.data->validate_config();
    config.model->validate_config();
    if (config.planning) (*config.planning)->validate_config();
  });
}

std::filesystem::path find_config(const std::filesystem::path& name) {
  std::error_code ignored;
  if (std::filesystem::exists(name, ignored) || name.is_absolute()) return name;
  return find_installed(name, "configs");
}

}  // namespace df
