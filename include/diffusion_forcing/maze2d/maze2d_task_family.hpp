// SPDX-License-Identifier: MIT
// maze2d's tasks as df-eval plays them.
#pragma once

#include <memory>

#include "diffusion_forcing/planning/task_family.hpp"

namespace df {

// Tasks: maze2d_tasks(). Protocols: `full` (usual) and `paper`, see Protocol. Controllers: those of WaypointKind.
std::shared_ptr<const TaskFamily> maze2d_task_family();

}  // namespace df
