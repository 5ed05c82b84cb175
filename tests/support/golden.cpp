// SPDX-License-Identifier: MIT
#include "support/golden.hpp"

#include <ATen/ATen.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/safetensors.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/models/mlp_gru.hpp"
#include "diffusion_forcing/models/unet_gru.hpp"

namespace df::test {

namespace {

using nlohmann::json;

Space space_of(const std::string& objective) {
  const std::string name = objective.substr(std::string("pred_").size());
  return name == "noise" ? Space::eps : enum_value<Space>(name, "objective");
}

LossWeight weight_of(bool use_snr, bool use_cum_snr) {
  if (use_snr) return use_cum_snr ? LossWeight::fused_snr : LossWeight::min_snr;
  return use_cum_snr ? LossWeight::cumulative_snr : LossWeight::uniform;
}

DiffusionConfig diffusion_of(const json& config, int64_t frame_stack) {
  DiffusionConfig diffusion;
  diffusion.schedule = enum_value<ScheduleKind>(config.at("beta_schedule").get<std::string>(), "beta_schedule");
  diffusion.levels = config.at("timesteps");
  diffusion.output = diffusion.loss = space_of(config.at("objective"));
  diffusion.weight = weight_of(config.at("use_snr"), config.at("use_cum_snr"));
  diffusion.snr_clip = config.at("snr_clip");
  // The file's decay is already that of a token.
  diffusion.snr_decay = std::pow(config.at("cum_snr_decay").get<double>(), 1.0 / static_cast<double>(frame_stack));
  diffusion.clip_noise = config.at("clip_noise");
  return diffusion;
}

ModelConfig model_of(const json& config) {
  const Shape z_shape = config.at("z_shape");
  if (z_shape.size() == 3) {
    UnetGruConfig unet;
    unet.width = config.at("network_size");
    unet.latent = z_shape[0];
    unet.gru_layers = config.at("num_gru_layers");
    return unet;
  }
  MlpGruConfig mlp;
  mlp.width = config.at("network_size");
  mlp.latent = z_shape[0];
  mlp.mlp_layers = config.at("num_mlp_layers");
  mlp.gru_layers = config.at("num_gru_layers");
  mlp.latent_init = LatentInit::learned;
  return mlp;
}

void load_weights(GoldenModel& golden) {
  std::set<std::string> wanted;
  const std::string prefix = "model/";
  for (const auto& [key, tensor] : golden.tensors)
    if (key.rfind(prefix, 0) == 0) wanted.insert(key.substr(prefix.size()));
  wanted.insert("init_z");
  const at::NoGradGuard no_grad;
  for (auto& parameter : golden.model->named_parameters()) {
    if (!wanted.erase(parameter.key())) throw Error(golden.name + ": the authors have no parameter " + parameter.key());
    const Tensor& value = golden.at(parameter.key() == "init_z" ? "train/init_z" : prefix + parameter.key());
    check_shape(parameter.value(), golden.name + ": " + parameter.key(), value.sizes().vec());
    parameter.value().copy_(value);
  }
  if (!wanted.empty()) throw Error(golden.name + ": the model has no parameter " + *wanted.begin());
}

}  // namespace

const Tensor& GoldenModel::at(const std::string& key) const {
  const auto found = tensors.find(key);
  if (found == tensors.end()) throw Error(name + ": no tensor " + key);
  return found->second;
}

Tensor GoldenModel::optional(const std::string& key) const { return has(key) ? at(key) : Tensor(); }

GoldenModel load_golden_model(const std::filesystem::path& path) {
  SafeTensors file = read_safetensors(path);
  const json config = json::parse(file.metadata.at("config"));
  GoldenModel golden;
  golden.name = path.stem().string();
  golden.spec.token_shape = config.at("x_shape").get<Shape>();
  golden.spec.condition_dim = config.at("external_cond_dim");
  golden.spec.frame_stack = config.at("frame_stack");
  golden.config = model_of(config);
  golden.diffusion = diffusion_of(config, golden.spec.frame_stack);
  golden.sampling_steps = config.at("sampling_timesteps");
  golden.eta = config.at("ddim_sampling_eta");
  golden.grad_names = json::parse(file.metadata.at("grad_names")).get<std::vector<std::string>>();
  for (const auto& [key, tensor] : file.tensors)
    golden.tensors[key] = tensor.scalar_type() == at::kBFloat16 ? tensor.to(at::kFloat) : tensor;
  golden.model = make_model(golden.config, golden.spec, 0);
  load_weights(golden);
  return golden;
}

}  // namespace df::test
