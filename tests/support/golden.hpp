// SPDX-License-Identifier: MIT
// The authors' models and numbers as this library's objects.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "diffusion_forcing/config/roles.hpp"
#include "diffusion_forcing/core/tensor.hpp"
#include "diffusion_forcing/diffusion/diffusion.hpp"

namespace df {
class CausalModel;
}

namespace df::test {

struct GoldenModel {
  std::string name;                    // file name without ending
  std::shared_ptr<CausalModel> model;  // weights loaded, float32
  ModelConfig config;
  TokenSpec spec;
  DiffusionConfig diffusion;              // output and loss are the authors' one objective; snr_decay is per frame
  int64_t sampling_steps = 0;             // S
  double eta = 0.0;                       // of DDIM
  std::vector<std::string> grad_names;    // order of `grad_norm` and `grad_sum`
  std::map<std::string, Tensor> tensors;  // every tensor of the file, bfloat16 widened to float32

  bool has(const std::string& key) const { return tensors.count(key) > 0; }
  const Tensor& at(const std::string& key) const;                     // df::Error if absent
  Tensor optional(const std::string& key) const;                      // undefined if absent
  Tensor level(const std::string& key) const { return at(key) + 1; }  // noise level k of time indices
};

// Builds the model that the file's `config` describes and copies `model/NAME` and `train/init_z` into it. Names and shapes must be
// equal on both sides.
GoldenModel load_golden_model(const std::filesystem::path& path);

}  // namespace df::test
