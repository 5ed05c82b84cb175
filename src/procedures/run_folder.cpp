// SPDX-License-Identifier: MIT
#include "procedures/run_folder.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>
#include <torch/version.h>

#include <nlohmann/json.hpp>
#include <set>

#include "config/config_errors.hpp"
#include "config/schedule_file.hpp"
#include "diffusion_forcing/config/yaml_config.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/core/version.hpp"
#include "diffusion_forcing/training/checkpoint.hpp"
#include "procedures/json_fields.hpp"
#include "procedures/resume_rules.hpp"

namespace df {

namespace {

using nlohmann::ordered_json;

constexpr const char* absent = "absent";

// config.yaml of a run of parts of one's own.
struct OwnSections {
  std::string name;
  uint64_t seed = 0;
  DiffusionConfig diffusion;
  TrainingConfig training;
  RolloutConfig sampling;
  template <class V>
  void visit(V&& v) {
    v("name", name, "of the run folder");
    v("seed", seed, "everything random follows from it");
    v("diffusion", diffusion, "");
    v("training", training, "");
    v("sampling", sampling, "");
  }
};

// The file travels with the run: config.yaml names it as it is called there.
std::optional<fs::path> take_schedule(RolloutConfig& sampling) {
  const auto file = schedule_file(sampling.schedule);
  if (file) sampling.schedule = file->filename().string();
  return file;
}

std::map<std::string, std::string> facts_of(DataSpec spec) {
  ordered_json fields = ordered_json::object();
  JsonWriter writer(fields);
  spec.visit(writer);
  std::map<std::string, std::string> facts;
  for (const auto& [key, value] : fields.items()) facts["data." + key] = value.dump();
  return facts;
}

ordered_json read_json(const fs::path& path) {
  if (!fs::exists(path)) return ordered_json::object();
  try {
    auto json = ordered_json::parse(read_file(path));
    if (json.is_object()) return json;
    throw Error(fmt::format("{}: expected an object, got {}", path.string(), json.dump()));
  } catch (const nlohmann::json::exception& error) {
    throw Error(path.string() + ": damaged: " + error.what());
  }
}

std::string checksum(const fs::path& file) { return fmt::format("{:08x}", crc32_of_file(file)); }

std::string same_file(const std::optional<fs::path>& file) { return file && fs::exists(*file) ? checksum(*file) : ""; }

// Keys whose values differ.
std::vector<KeyChange> compare(const RunDescription& there, const RunDescription& here) {
  const auto keys_of = [](const RunDescription& run) {
    std::map<std::string, std::string> keys = run.facts;
    for (auto& [key, value] : flatten(parse_yaml(run.yaml, "config.yaml"))) keys[key] = value;
    return keys;
  };
  const auto old_keys = keys_of(there), new_keys = keys_of(here);
  std::set<std::string> all;
  for (const auto& [key, value] : old_keys) all.insert(key);
  for (const auto& [key, value] : new_keys) all.insert(key);
  std::vector<KeyChange> changes;
  for (const auto& key : all) {
    const auto a = old_keys.find(key), b = new_keys.find(key);
    const std::string was = a == old_keys.end() ? absent : a->second, is = b == new_keys.end() ? absent : b->second;
    if (!same_value(key, was, is)) changes.push_back({key, was, is});
  }
  if (there.schedule && here.schedule && there.schedule->filename() == here.schedule->filename() &&
      same_file(there.schedule) != same_file(here.schedule))
    changes.push_back({"sampling.schedule", there.schedule->string() + " (other content)", here.schedule->string()});
  return changes;
}

// Throws ConfigError for changes that a resume may not make; marks those that --force makes, and tells of those that round otherwise.
void judge(const fs::path& run, std::vector<KeyChange>& changes, bool force) {
  std::vector<std::string> refused;
  std::string shown;
  for (auto& change : changes) {
    const ResumeRule rule = resume_rule(change.key);
    if (rule == ResumeRule::rounding)
      spdlog::info("{}: {} there, {} here: sums are taken in another order, so that results differ by rounding from an uninterrupted run's",
                   change.key, change.there, change.here);
    if (rule != ResumeRule::fixed && rule != ResumeRule::shown) continue;
    change.forced = true;
    refused.push_back(fmt::format("{}: {} there, {} here", change.key, change.there, change.here));
    if (rule == ResumeRule::shown && shown.empty() && change.here != absent)
      shown = fmt::format(
          ". Sampling and planning are kept as the run was trained with; other values are given where they are used: df-sample "
          "--checkpoint {} --set {}={}",
          run.string(), change.key, change.here);
  }
  if (refused.empty()) return;
  if (!force)
    throw ConfigError(
        fmt::format("{}: the run has another configuration: {}. Either leave these keys as they are there (df-train --resume --out {}), or "
                    "add --force to go on with the new values, which run.json will record{}",
                    (run / "config.yaml").string(), fmt::join(refused, "; "), run.string(), shown));
  for (const auto& line : refused) spdlog::warn("forced: {}", line);
}

// Whether config.yaml is still what the run wrote.
std::optional<KeyChange> edited(const fs::path& run) {
  const ordered_json json = read_json(run / "run.json");
  if (!json.contains("config_crc32")) return std::nullopt;  // a run of an earlier version
  const std::string there = json["config_crc32"].is_string() ? json["config_crc32"].get<std::string>() : "",
                    here = checksum(run / "config.yaml");
  if (there == here) return std::nullopt;
  return KeyChange{"config.yaml", there, here, true};
}

}  // namespace

RunDescription describe(const ExperimentConfig& config, const Types& types) {
  ExperimentConfig kept = config;
  const auto schedule = take_schedule(kept.sampling);
  return {dump_experiment(kept), schedule, {}, [&types](const fs::path& run) {
            return describe(load_experiment(run / "config.yaml", {}, types), types);
          }};
}

RunDescription describe(const Parts& parts, const TrainingConfig& training) {
  OwnSections own{parts.name, parts.seed, parts.diffusion.config, training, parts.sampling};
  const auto schedule = take_schedule(own.sampling);
  return {dump_config(own), schedule, facts_of(parts.train->spec()), [](const fs::path& run) {
            OwnSections there;
            const fs::path path = run / "config.yaml";
            with_config_errors([&] { read_config(parse_yaml(read_file(path), path.string()), there); });
            RunDescription old{dump_config(there), std::nullopt, {}, {}};
            if (const auto file = schedule_file(there.sampling.schedule)) old.schedule = run / *file;
            if (const auto spec = read_data_spec(run)) old.facts = facts_of(*spec);
            return old;
          }};
}

OpenedRun open_run(const fs::path& folder, const RunDescription& here, const TrainOptions& options) {
  std::error_code ignored;
  if (fs::exists(folder, ignored) && !fs::is_directory(folder, ignored))
    throw Error(folder.string() + ": expected a run folder, got a file");
  if (!options.resume) {
    if (fs::exists(folder) && !fs::is_empty(folder))
      throw Error(
          folder.string() +
          ": expected a new or empty folder, got one with files in it; --resume goes on with the run there, --out names another folder");
    return {folder, std::nullopt, {}};
  }
  if (!fs::exists(folder / "config.yaml")) throw Error(folder.string() + ": nothing to resume: config.yaml is not there");
  OpenedRun run{folder, latest_checkpoint(folder), {}};
  if (const auto by_hand = edited(folder)) {
    if (!options.force)
      throw ConfigError(fmt::format(
          "{}: was edited after the run wrote it (run.json has its checksum). Either undo the edit and give changes with --set, "
          "or add --force to go on with the file as it is now, which run.json will record",
          (folder / "config.yaml").string()));
    run.changes.push_back(*by_hand);
  }
  auto changes = compare(here.read(folder), here);
  judge(folder, changes, options.force);
  run.changes.insert(run.changes.end(), changes.begin(), changes.end());
  return run;
}

void write_run_folder(const OpenedRun& run, const RunDescription& description, const DataSpec& spec, const std::string& device,
                      int64_t first_step, const std::map<std::string, std::string>& own) {
  const fs::path json_path = run.folder / "run.json";
  ordered_json json = read_json(json_path);
  write_atomically(run.folder / "config.yaml", description.yaml);
  if (description.schedule) {
    const fs::path kept = run.folder / description.schedule->filename();
    std::error_code ignored;
    if (!fs::equivalent(*description.schedule, kept, ignored)) write_atomically(kept, read_file(*description.schedule));
  }
  json["diffusion_forcing"] = version();
  json["commit"] = commit();
  json["libtorch"] = TORCH_VERSION;
  json["device"] = device;
  JsonWriter writer(json["data"]);
  DataSpec(spec).visit(writer);
  if (!own.empty()) json["own_parts"] = own;
  json["config_crc32"] = checksum(run.folder / "config.yaml");
  for (const auto& change : run.changes)
    json["changes"].push_back(
        {{"step", first_step}, {"key", change.key}, {"there", change.there}, {"here", change.here}, {"forced", change.forced}});
  write_atomically(json_path, json.dump(2) + "\n");
}

std::optional<DataSpec> read_data_spec(const fs::path& run) {
  const fs::path path = run / "run.json";
  if (!fs::exists(path)) return std::nullopt;
  const ordered_json json = read_json(path);
  if (!json.contains("data")) throw Error(path.string() + ": data: expected an object, got nothing");
  JsonReader reader(json["data"], path.string() + ": data", {"frame_mean", "frame_std"});  // not in runs of earlier versions
  DataSpec spec;
  spec.visit(reader);
  return spec;
}

void check_same_data(const fs::path& run, const DataSpec& spec) {
  const auto there = read_data_spec(run);
  if (!there) return;
  const auto here = facts_of(spec);
  for (const auto& [key, value] : facts_of(*there))
    if (key != "data.tokens" && here.at(key) != value)
      throw Error(fmt::format("{}: {}: {} in the run, {} here", (run / "run.json").string(), key, value, here.at(key)));
}

std::map<std::string, std::string> read_own_parts(const fs::path& run) {
  const ordered_json json = read_json(run / "run.json");
  std::map<std::string, std::string> own;
  if (json.contains("own_parts") && json["own_parts"].is_object())
    for (const auto& [key, value] : json["own_parts"].items()) own[key] = value.is_string() ? value.get<std::string>() : value.dump();
  return own;
}

}  // namespace df
