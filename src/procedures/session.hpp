// SPDX-License-Identifier: MIT
// An experiment made real: data, model, diffusion and objective on one device.
#pragma once

#include <memory>
#include <string>

#include "diffusion_forcing/config/experiment.hpp"
#include "diffusion_forcing/training/trainer.hpp"

namespace df {

class Accelerator;
class CausalModel;

struct Session {
  const Accelerator* accelerator = nullptr;
  std::shared_ptr<const Dataset> data, validation;  // validation only where it is asked for
  DataSpec spec;
  Diffusion diffusion;                 // on the device
  std::shared_ptr<CausalModel> model;  // on the device, in training mode
};

// Throws ConfigError for what cannot be built.
Session make_session(const ExperimentConfig& config, const std::string& device);

// The diffusion forcing loss with its draws of levels and noise.
Objective make_objective(const Session& session, const TrainingConfig& training);

}  // namespace df
