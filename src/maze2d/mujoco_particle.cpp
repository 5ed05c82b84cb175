// SPDX-License-Identifier: MIT
// MuJoCo behind the plain interface of particle.hpp.
#include <fmt/format.h>
#include <mujoco/mujoco.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <utility>

#include "diffusion_forcing/core/error.hpp"
#include "maze2d/particle.hpp"

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

class MujocoModel final : public ParticleModel {
 public:
  explicit MujocoModel(const std::string& mjcf) : model_(load(mjcf)) {
    // Up to 2.3 the inverse weight of a body is the mean over three axes, of which this one moves along two; from 3.0 on it is 1 / m.
    // D4RL's contacts have the former.
    const int body = particle_body(model_);
    const double two_of_three = 2.0 / (3.0 * model_->body_mass[body]);
    mjtNum& inverse_weight = model_->body_invweight0[2 * body];
    if (std::abs(inverse_weight / two_of_three - 1.0) > 1e-6) inverse_weight = two_of_three;
  }
  ~MujocoModel() override { mj_deleteModel(model_); }
  MujocoModel(const MujocoModel&) = delete;
  MujocoModel& operator=(const MujocoModel&) = delete;

  Facts facts() const override {
    const int body = particle_body(model_);
    const mjOption& option = model_->opt;
    return {model_->body_mass[body],
            model_->body_invweight0[2 * body],
            option.timestep,
            option.iterations,
            option.solver == mjSOL_NEWTON,
            option.cone == mjCONE_PYRAMIDAL,
            option.integrator == mjINT_EULER};
  }
  std::unique_ptr<Particle> make_particle() const override;
  const mjModel* get() const { return model_; }

 private:
  mjModel* model_;
};

class MujocoParticle final : public Particle {
 public:
  explicit MujocoParticle(std::shared_ptr<const MujocoModel> model) : model_(std::move(model)), data_(mj_makeData(model_->get())) {
    if (!data_) throw Error("MuJoCo: no memory for a world");
  }
  ~MujocoParticle() override { mj_deleteData(data_); }
  MujocoParticle(const MujocoParticle&) = delete;
  MujocoParticle& operator=(const MujocoParticle&) = delete;

  void reset() override { mj_resetData(model_->get(), data_); }
  void write(const Maze2dState& state) override {
    for (int i = 0; i < 2; ++i) {
      data_->qpos[i] = state[static_cast<size_t>(i)];
      data_->qvel[i] = state[static_cast<size_t>(i) + 2];
    }
  }
  void forward() override { mj_forward(model_->get(), data_); }
  void step(const Point2& control) override {
    data_->ctrl[0] = control[0];
    data_->ctrl[1] = control[1];
    mj_step(model_->get(), data_);
  }
  Maze2dState read() const override { return {data_->qpos[0], data_->qpos[1], data_->qvel[0], data_->qvel[1]}; }
  int64_t contacts() const override { return data_->ncon; }
  double contact_margin(int64_t contact) const override { return data_->contact[contact].includemargin; }

 private:
  std::shared_ptr<const MujocoModel> model_;
  mjData* data_ = nullptr;
};

std::unique_ptr<Particle> MujocoModel::make_particle() const {
  return std::make_unique<MujocoParticle>(std::static_pointer_cast<const MujocoModel>(shared_from_this()));
}

}  // namespace

}  // namespace df

extern "C" __attribute__((visibility("default"))) df::ParticleModel* df_mujoco_particle_model(const std::string& mjcf) {
  return new df::MujocoModel(mjcf);
}
