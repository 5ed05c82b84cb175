// SPDX-License-Identifier: MIT
#include "diffusion_forcing/maze2d/d4rl_file.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/data/hdf5_file.hpp"

namespace df {

namespace {

struct Field {
  const char* name;
  Tensor OfflineData::*tensor;
  bool required, flags, info;
  size_t dims;
};
constexpr Field fields[] = {
    {"observations", &OfflineData::observations, true, false, false, 2}, {"actions", &OfflineData::actions, true, false, false, 2},
    {"rewards", &OfflineData::rewards, true, false, false, 1},           {"terminals", &OfflineData::terminals, true, true, false, 1},
    {"timeouts", &OfflineData::timeouts, false, true, false, 1},         {"infos/goal", &OfflineData::goals, false, false, true, 2},
    {"infos/qpos", &OfflineData::qpos, false, false, true, 2},           {"infos/qvel", &OfflineData::qvel, false, false, true, 2}};

}  // namespace

OfflineData read_d4rl(const std::filesystem::path& path, const D4rlReading& reading) {
  const auto file = Hdf5File::open(path);
  OfflineData data;
  for (const Field& field : fields) {
    if (!field.required && ((field.info && !reading.infos) || !file.has(field.name))) continue;
    Shape shape(field.dims, -1);
    if (data.observations.defined()) shape[0] = data.rows();  // those of the first
    if (field.tensor == &OfflineData::observations) shape[1] = reading.observation;
    if (field.tensor == &OfflineData::actions) shape[1] = reading.action;
    data.*field.tensor = field.flags ? file.read_flags(field.name, shape) : file.read_numbers(field.name, shape);
    if (data.rows() == 0) throw Error(path.string() + ": observations: expected rows, got none");
  }
  return data;
}

void write_d4rl(const std::filesystem::path& path, const OfflineData& data) {
  for (const Field& field : fields) {
    const Tensor& tensor = data.*field.tensor;
    if (!tensor.defined() && !field.required) continue;
    Shape shape(field.dims, -1);
    if (data.observations.defined() && data.observations.dim() > 0) shape[0] = data.observations.size(0);
    check_shape(tensor, field.name, shape);
    const auto expected = field.flags ? at::kBool : at::kFloat;
    if (tensor.scalar_type() != expected)
      throw Error(fmt::format("{}: expected {}, got {}", field.name, c10::toString(expected), c10::toString(tensor.scalar_type())));
  }
  write_atomically(path, [&](const fs::path& temporary) {
    auto file = Hdf5File::create(temporary);
    for (const Field& field : fields)
      if (const Tensor& tensor = data.*field.tensor; tensor.defined()) file.write(field.name, tensor);
    file.close();
  });
}

}  // namespace df
