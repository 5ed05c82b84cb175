// SPDX-License-Identifier: MIT
#include "procedures/model_weights.hpp"

#include <ATen/ATen.h>

#include "diffusion_forcing/core/error.hpp"

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

std::optional<fs::path> enclosing_run(const fs::path& checkpoint) {
  std::error_code failed;
  for (fs::path folder = fs::absolute(checkpoint).lexically_normal();; folder = folder.parent_path()) {
    if (fs::exists(folder / "config.yaml", failed)) return folder;
    if (folder == folder.root_path()) return std::nullopt;
  }
}

fs::path find_run(const fs::path& checkpoint) {
  if (const auto run = enclosing_run(checkpoint)) return *run;
  throw Error(checkpoint.string() + ": no config.yaml in it or in a folder above; name the experiment with --config");
}

}  // namespace df
