// SPDX-License-Identifier: MIT
// A ball on two slides between boxes. The only file pair that knows MuJoCo.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "diffusion_forcing/maze2d/maze2d.hpp"

struct mjModel_;
struct mjData_;

namespace df {

// Never changes after its construction: any number of particles and threads share one.
class ParticleModel {
 public:
  // Throws df::Error with the compiler's message.
  explicit ParticleModel(const std::string& mjcf);
  ~ParticleModel();
  ParticleModel(const ParticleModel&) = delete;
  ParticleModel& operator=(const ParticleModel&) = delete;

  struct Facts {
    double mass = 0, inverse_weight = 0;  // of the ball; the latter sets how soft contacts are
    double timestep = 0;
    int64_t iterations = 0;
    bool newton = false, pyramidal = false, euler = false;
  };
  Facts facts() const;
  const mjModel_* get() const { return model_; }

 private:
  mjModel_* model_ = nullptr;
};

class Particle {
 public:
  explicit Particle(std::shared_ptr<const ParticleModel> model);
  ~Particle();
  Particle(const Particle&) = delete;
  Particle& operator=(const Particle&) = delete;

  void reset();  // zero state, nothing remembered
  void write(const Maze2dState& state);
  void forward();
  void step(const Point2& control);
  Maze2dState read() const;
  int64_t contacts() const;
  double contact_margin(int64_t contact) const;

 private:
  std::shared_ptr<const ParticleModel> model_;
  mjData_* data_ = nullptr;
};

}  // namespace df
