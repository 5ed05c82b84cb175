// SPDX-License-Identifier: MIT
// How a planned way through a maze is followed.
#pragma once

#include "diffusion_forcing/core/enum_names.hpp"

namespace df {

// What is done with a plan.
enum class Execution {
  actions,   // the planned actions, one after the other
  tracking,  // the planned positions and velocities, followed by proportional and derivative control
};
template <>
struct EnumNames<Execution> {
  static constexpr std::pair<std::string_view, Execution> table[] = {{"actions", Execution::actions}, {"tracking", Execution::tracking}};
};

}  // namespace df
