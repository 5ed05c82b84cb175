// SPDX-License-Identifier: MIT
// The file that `sampling.schedule` names, where it names one.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "diffusion_forcing/sampling/scheduling_matrix.hpp"

namespace df {

// Nothing for the name of a MatrixKind.
inline std::optional<std::filesystem::path> schedule_file(const std::string& schedule) {
  for (const auto& [name, kind] : EnumNames<MatrixKind>::table)
    if (name == schedule) return std::nullopt;
  return schedule;
}

}  // namespace df
