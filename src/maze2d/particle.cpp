// SPDX-License-Identifier: MIT
#include "maze2d/particle.hpp"

#include "core/load_library.hpp"

namespace df {

std::shared_ptr<const ParticleModel> make_particle_model(const std::string& mjcf) {
  static const auto make = reinterpret_cast<MakeParticleModel>(
      library_function("libdiffusion_forcing_mujoco.so", particle_symbol, "the physics of mazes needs MuJoCo (Debian: libmujoco-dev) and"));
  return std::shared_ptr<const ParticleModel>(make(mjcf));
}

}  // namespace df
