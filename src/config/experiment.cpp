// SPDX-License-Identifier: MIT
#include "diffusion_forcing/config/experiment.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "config/config_errors.hpp"
#include "config/yaml_config.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/file.hpp"

namespace df {

ExperimentConfig load_experiment(const std::filesystem::path& path, const std::vector<std::string>& overrides) {
  return with_config_errors([&] {
    const std::filesystem::path found = find_config(path);
    return parse_experiment(read_file(found), found.string(), overrides);
  });
}

ExperimentConfig parse_experiment(const std::string& yaml, const std::string& name, const std::vector<std::string>& overrides) {
  return with_config_errors([&] {
    YamlTree root = parse_yaml(yaml, name);
    for (const auto& assignment : overrides) apply_override(root, assignment);
    ExperimentConfig config;
    read_config(root, config);
    return config;
  });
}

std::string dump_experiment(const ExperimentConfig& config) { return dump_config(config); }

namespace {

void check(const ExperimentConfig& config) {
  const auto unfit = [](char c) { return !std::isalnum(static_cast<unsigned char>(c)) && c != '_' && c != '-' && c != '.'; };
  if (config.name.empty() || config.name[0] == '.' || std::find_if(config.name.begin(), config.name.end(), unfit) != config.name.end())
    throw Error(fmt::format("name: expected a folder name of letters, digits, '_', '-' and '.', got '{}'", config.name));
  make_diffusion(config.diffusion);
  const auto& training = config.training;
  if (training.context_tokens < 0) throw Error(fmt::format("training.context_tokens: expected 0 or more, got {}", training.context_tokens));
  if (training.context_tokens > 0 && training.noise != TrainingNoise::shared)
    throw Error(fmt::format("training.context_tokens: expected 0 where training.noise is {}, got {}", enum_name(training.noise),
                            training.context_tokens));
  validate(training.trainer);
  validate(config.sampling, config.diffusion.levels);
}

}  // namespace

void validate(const ExperimentConfig& config) {
  with_config_errors([&] { check(config); });
}

std::filesystem::path find_config(const std::filesystem::path& name) {
  std::error_code ignored;
  if (std::filesystem::exists(name, ignored) || name.is_absolute()) return name;
  return find_installed(name, "configs");
}

}  // namespace df
