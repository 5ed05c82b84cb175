// SPDX-License-Identifier: MIT
#include "diffusion_forcing/training/checkpoint.hpp"

#include <ATen/ATen.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <torch/nn/module.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/core/safetensors.hpp"
#include "diffusion_forcing/core/shape.hpp"

namespace df {

namespace {

constexpr int64_t format_version = 1;
constexpr const char* manifest_name = "manifest.json";
constexpr const char* partial_prefix = ".partial-";
constexpr const char* step_prefix = "step_";

void flush_folder(const fs::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY);
  if (descriptor < 0) return;
  ::fsync(descriptor);
  ::close(descriptor);
}

// Puts the whole folder `from` in the place of `to`. There is no moment at which neither the old nor the new one has the name `to`
// where the file system can exchange names.
void replace_folder(const fs::path& from, const fs::path& to) {
  if (!fs::exists(to)) {
    fs::rename(from, to);
  } else if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0) {
    fs::remove_all(from);
  } else {
    fs::path aside = to;
    aside.replace_filename(partial_prefix + to.filename().string() + "-old");
    fs::rename(to, aside);
    fs::rename(from, to);
    fs::remove_all(aside);
  }
  flush_folder(to.parent_path());
}

void remove_partial(const fs::path& folder) {
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().filename().string().rfind(partial_prefix, 0) == 0) fs::remove_all(entry.path());
}

// Number of "step_<n>", or nothing for any other name.
std::optional<int64_t> step_of(const fs::path& folder) {
  const std::string name = folder.filename().string();
  const std::string digits = name.rfind(step_prefix, 0) == 0 ? name.substr(std::strlen(step_prefix)) : "";
  if (digits.empty() || digits.size() > 18 || digits.find_first_not_of("0123456789") != std::string::npos) return std::nullopt;
  return std::stoll(digits);
}

// Complete checkpoints, newest first. The manifest is the last file that is written, so its presence says that all were.
std::vector<std::pair<int64_t, fs::path>> complete_checkpoints(const fs::path& run) {
  std::vector<std::pair<int64_t, fs::path>> found;
  const fs::path folder = run / "checkpoints";
  if (!fs::is_directory(folder)) return found;
  for (const auto& entry : fs::directory_iterator(folder))
    if (const auto step = step_of(entry.path()); step && fs::is_regular_file(entry.path() / manifest_name))
      found.emplace_back(*step, entry.path());
  std::sort(found.rbegin(), found.rend());
  return found;
}

struct FileEntry {
  uint64_t size = 0;
  uint32_t crc32 = 0;
};

struct Manifest {
  int64_t step = 0;
  std::map<std::string, FileEntry> files;
  std::map<std::string, std::string> metadata;
};

void write_manifest(const fs::path& folder, const Manifest& manifest) {
  nlohmann::ordered_json json;
  json["format"] = format_version;
  json["step"] = manifest.step;
  for (const auto& [name, file] : manifest.files) json["files"][name] = {{"size", file.size}, {"crc32", fmt::format("{:08x}", file.crc32)}};
  json["metadata"] = manifest.metadata;
  write_atomically(folder / manifest_name, json.dump(2) + "\n");
}

Manifest read_manifest(const fs::path& folder) {
  const fs::path path = folder / manifest_name;
  if (!fs::is_regular_file(path)) throw Error(folder.string() + ": not a complete checkpoint: " + manifest_name + " is missing");
  try {
    const auto json = nlohmann::json::parse(read_file(path));
    if (const auto version = json.at("format").get<int64_t>(); version != format_version)
      throw Error(fmt::format("{}: checkpoint format: expected version {}, got {}", path.string(), format_version, version));
    Manifest manifest;
    manifest.step = json.at("step");
    json.at("metadata").get_to(manifest.metadata);
    for (const auto& [name, file] : json.at("files").items())
      manifest.files[name] = {file.at("size"), static_cast<uint32_t>(std::stoul(file.at("crc32").get<std::string>(), nullptr, 16))};
    return manifest;
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    throw Error(path.string() + ": damaged: " + error.what());
  }
}

FileEntry entry_of(const fs::path& path) { return {fs::file_size(path), crc32_of_file(path)}; }

void verify(const fs::path& folder, const Manifest& manifest) {
  for (const auto& [name, expected] : manifest.files) {
    const fs::path path = folder / name;
    if (!fs::is_regular_file(path)) throw Error(path.string() + ": missing, but listed in " + manifest_name);
    const FileEntry got = entry_of(path);
    if (got.size != expected.size)
      throw Error(fmt::format("{}: damaged: expected {} bytes, got {}", path.string(), expected.size, got.size));
    if (got.crc32 != expected.crc32)
      throw Error(fmt::format("{}: damaged: expected CRC-32 {:08x}, got {:08x}", path.string(), expected.crc32, got.crc32));
  }
}

std::string join(const std::vector<std::string>& parts) {
  std::string all;
  for (const auto& part : parts) all += (all.empty() ? "" : ", ") + part;
  return all;
}

void check_fits(const fs::path& path, const std::map<std::string, Tensor>& file, const NamedTensors& weights) {
  std::vector<std::string> missing, unexpected, shapes, faults;
  std::map<std::string, Tensor> rest = file;
  for (const auto& [name, tensor] : weights) {
    const auto found = rest.find(name);
    if (found == rest.end()) {
      missing.push_back(name);
      continue;
    }
    if (found->second.sizes() != tensor.sizes())
      shapes.push_back(name + " (expected " + to_string(tensor.sizes().vec()) + ", got " + to_string(found->second.sizes().vec()) + ")");
    rest.erase(found);
  }
  for (const auto& [name, tensor] : rest) unexpected.push_back(name);
  if (!missing.empty()) faults.push_back("missing: " + join(missing));
  if (!unexpected.empty()) faults.push_back("unexpected: " + join(unexpected));
  if (!shapes.empty()) faults.push_back("of another shape: " + join(shapes));
  if (faults.empty()) return;
  std::string all;
  for (const auto& fault : faults) all += (all.empty() ? "" : "; ") + fault;
  throw Error(path.string() + ": weights do not fit the model: " + all);
}

}  // namespace

NamedTensors named_tensors(const torch::nn::Module& module) {
  NamedTensors all;
  for (const auto& item : module.named_parameters()) all.emplace_back(item.key(), item.value());
  for (const auto& item : module.named_buffers()) all.emplace_back(item.key(), item.value());
  return all;
}

void save_weights(const fs::path& path, const NamedTensors& weights, const std::map<std::string, std::string>& metadata) {
  SafeTensors content;
  content.metadata = metadata;
  for (const auto& [name, tensor] : weights)
    if (!content.tensors.emplace(name, tensor.detach()).second) throw Error(path.string() + ": two tensors are named " + name);
  write_safetensors(path, content);
}

std::map<std::string, std::string> load_weights(const fs::path& path, const NamedTensors& weights) {
  const SafeTensors file = read_safetensors(path);
  check_fits(path, file.tensors, weights);
  const at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : weights) tensor.copy_(file.tensors.at(name));
  return file.metadata;
}

fs::path save_checkpoint(const fs::path& run, const Checkpoint& checkpoint) {
  const fs::path folder = run / "checkpoints";
  const std::string name = step_prefix + std::to_string(checkpoint.step);
  const fs::path partial = folder / (partial_prefix + name);
  try {
    fs::create_directories(folder);
    remove_partial(folder);  // what a killed process left
    fs::create_directory(partial);
    Manifest manifest{checkpoint.step, {}, checkpoint.metadata};
    auto metadata = checkpoint.metadata;
    metadata["step"] = std::to_string(checkpoint.step);
    save_weights(partial / "model.safetensors", checkpoint.model, metadata);
    if (!checkpoint.ema.empty()) save_weights(partial / "ema.safetensors", checkpoint.ema, metadata);
    write_safetensors(partial / "trainer.safetensors", {checkpoint.trainer, metadata});
    for (const auto& entry : fs::directory_iterator(partial)) manifest.files[entry.path().filename()] = entry_of(entry.path());
    write_manifest(partial, manifest);
    flush_folder(partial);
    replace_folder(partial, folder / name);
  } catch (const std::exception& error) {
    std::error_code ignored;
    fs::remove_all(partial, ignored);
    throw Error((folder / name).string() + ": checkpoint cannot be saved: " + error.what());
  }
  return folder / name;
}

void load_checkpoint(const fs::path& folder, Checkpoint& into) {
  const Manifest manifest = read_manifest(folder);
  for (const char* name : {"model.safetensors", "trainer.safetensors"})
    if (!manifest.files.count(name)) throw Error((folder / manifest_name).string() + ": damaged: does not list " + name);
  if (!into.ema.empty() && !manifest.files.count("ema.safetensors"))
    throw Error(folder.string() + ": holds no averaged weights (ema.safetensors); it was trained with training.ema: 0");
  verify(folder, manifest);
  into.trainer = read_safetensors(folder / "trainer.safetensors").tensors;
  load_weights(folder / "model.safetensors", into.model);
  if (!into.ema.empty()) load_weights(folder / "ema.safetensors", into.ema);
  into.step = manifest.step;
  into.metadata = manifest.metadata;
}

CheckpointInfo inspect_checkpoint(const fs::path& folder) {
  const Manifest manifest = read_manifest(folder);
  return {manifest.step, manifest.metadata};
}

std::optional<fs::path> latest_checkpoint(const fs::path& run) {
  const auto found = complete_checkpoints(run);
  if (found.empty()) return std::nullopt;
  return found.front().second;
}

void prune_checkpoints(const fs::path& run, int64_t keep) {
  if (keep <= 0) return;
  const auto found = complete_checkpoints(run);
  for (size_t i = static_cast<size_t>(keep); i < found.size(); ++i) {
    // Under another name first: a removal that is cut short must not leave something that looks like a checkpoint.
    fs::path partial = found[i].second;
    partial.replace_filename(partial_prefix + found[i].second.filename().string());
    fs::rename(found[i].second, partial);
    fs::remove_all(partial);
  }
}

}  // namespace df
