// SPDX-License-Identifier: MIT
// A ball on two slides between boxes, simulated by MuJoCo in libdiffusion_forcing_mujoco.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "diffusion_forcing/maze2d/maze2d.hpp"

namespace df {

class Particle {
 public:
  virtual ~Particle() = default;
  virtual void reset() = 0;  // zero state, nothing remembered
  virtual void write(const Maze2dState& state) = 0;
  virtual void forward() = 0;
  virtual void step(const Point2& control) = 0;
  virtual Maze2dState read() const = 0;
  virtual int64_t contacts() const = 0;
  virtual double contact_margin(int64_t contact) const = 0;
};

// Never changes after it was made: any number of particles and threads share one.
class ParticleModel : public std::enable_shared_from_this<ParticleModel> {
 public:
  struct Facts {
    double mass = 0, inverse_weight = 0;  // of the ball; the latter sets how soft contacts are
    double timestep = 0;
    int64_t iterations = 0;
    bool newton = false, pyramidal = false, euler = false;
  };
  virtual ~ParticleModel() = default;
  virtual Facts facts() const = 0;
  virtual std::unique_ptr<Particle> make_particle() const = 0;
};

// Throws df::Error with the compiler's message, and where MuJoCo or our library of it is not installed.
std::shared_ptr<const ParticleModel> make_particle_model(const std::string& mjcf);

inline constexpr const char* particle_symbol = "df_mujoco_particle_model";
using MakeParticleModel = ParticleModel* (*)(const std::string& mjcf);

}  // namespace df
