// SPDX-License-Identifier: MIT
#include "maze2d/mujoco_particle.hpp"

#include <fmt/format.h>
#include <mujoco/mujoco.h>

#include <cmath>
#include <cstring>

#include "diffusion_forcing/core/error.hpp"

namespace df {

namespace {

// mj_loadXML reads files, also from a virtual file system in memory.
mjModel* load(const std::string& mjcf) {
  const auto release = [](mjVFS* files) {
    mj_deleteVFS(files);
    delete files;
  };
  const std::unique_ptr<mjVFS, decltype(release)> files(new mjVFS, release);
  mj_defaultVFS(files.get());
  mj_makeEmptyFileVFS(files.get(), "maze.xml", static_cast<int>(mjcf.size()));
  std::memcpy(files->filedata[0], mjcf.data(), mjcf.size());
  char message[1000] = "";
  mjModel* model = mj_loadXML("maze.xml", files.get(), message, sizeof message);
  if (!model) throw Error(fmt::format("MuJoCo {} does not accept the maze's model: {}", mj_versionString(), message));
  return model;
}

int particle_body(const mjModel* model) { return mj_name2id(model, mjOBJ_BODY, "particle"); }

}  // namespace

ParticleModel::ParticleModel(const std::string& mjcf) : model_(load(mjcf)) {
  // Up to 2.3 the inverse weight of a body is the mean over three axes, of which this one moves along two; from 3.0 on it is 1 / m. D4RL's
  // contacts have the former.
  const int body = particle_body(model_);
  const double two_of_three = 2.0 / (3.0 * model_->body_mass[body]);
  mjtNum& inverse_weight = model_->body_invweight0[2 * body];
  if (std::abs(inverse_weight / two_of_three - 1.0) > 1e-6) inverse_weight = two_of_three;
}

ParticleModel::~ParticleModel() { mj_deleteModel(model_); }

ParticleModel::Facts ParticleModel::facts() const {
  const int body = particle_body(model_);
  const mjOption& option = model_->opt;
  return {
      model_->body_mass[body],         model_->body_invweight0[2 * body], option.timestep, option.iterations, option.solver == mjSOL_NEWTON,
      option.cone == mjCONE_PYRAMIDAL, option.integrator == mjINT_EULER};
}

Particle::Particle(std::shared_ptr<const ParticleModel> model) : model_(std::move(model)), data_(mj_makeData(model_->get())) {
  if (!data_) throw Error("MuJoCo: no memory for a world");
}

Particle::~Particle() { mj_deleteData(data_); }

void Particle::reset() { mj_resetData(model_->get(), data_); }

void Particle::write(const Maze2dState& state) {
  for (int i = 0; i < 2; ++i) {
    data_->qpos[i] = state[static_cast<size_t>(i)];
    data_->qvel[i] = state[static_cast<size_t>(i) + 2];
  }
}

void Particle::forward() { mj_forward(model_->get(), data_); }

void Particle::step(const Point2& control) {
  data_->ctrl[0] = control[0];
  data_->ctrl[1] = control[1];
  mj_step(model_->get(), data_);
}

Maze2dState Particle::read() const { return {data_->qpos[0], data_->qpos[1], data_->qvel[0], data_->qvel[1]}; }

int64_t Particle::contacts() const { return data_->ncon; }

double Particle::contact_margin(int64_t contact) const { return data_->contact[contact].includemargin; }

}  // namespace df
