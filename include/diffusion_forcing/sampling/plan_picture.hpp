// SPDX-License-Identifier: MIT
// A scheduling matrix and its plan as a picture.
#pragma once

#include <cstdint>

#include "diffusion_forcing/drawing/scene.hpp"
#include "diffusion_forcing/sampling/plan.hpp"
#include "diffusion_forcing/sampling/rollout_config.hpp"
#include "diffusion_forcing/sampling/scheduling_matrix.hpp"

namespace df {

// Rows m downwards, tokens t to the right, each cell in the colour of its noise level, 0 .. levels. A cell that runs has the number of
// its batched step in it; where there is no room it has a dot, or the others are pale. Cells of one step light up together under the
// pointer.
drawing::Scene draw_plan(const SchedulingMatrix& matrix, const Plan& plan, int64_t levels);
// What a rollout does for its first `tokens` tokens: one chunk of full_sequence and trapezoid, the whole of a matrix file.
drawing::Scene draw_plan(const RolloutConfig& config, int64_t levels, int64_t tokens);

}  // namespace df
